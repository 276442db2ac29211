"""A conversation that keeps its context: each turn computes only what is new."""

from __future__ import annotations

from collections.abc import Sequence

from localllm.errors import UsageError
from localllm.generate.answer import Answer, Message, TextModel, begin_answer, vocabulary
from localllm.generate.dialogue.prepare import chat_ids
from localllm.generate.loop import Tape
from localllm.generate.params import Sampling
from localllm.generate.prompt_cache import CacheOptions
from localllm.generate.sampling import sampler_of


class Chat:
    """Messages, and one context that holds them. A new turn reuses the tokens that it shares with the one before."""

    def __init__(
        self,
        model: TextModel,
        system: str = "",
        n_ctx: int | None = None,
        n_batch: int = 512,
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        cache: CacheOptions | None = None,
    ) -> None:
        """cache: where beginnings of prompts are kept, for other conversations and processes; None: nowhere."""
        vocabulary(model)  # raise before a context is made
        self.model = model
        self.max_tokens = max_tokens
        # One for all turns: a seed gives one conversation.
        self._sampler = sampler_of(model, sampling or model.default_sampling)
        self.stop = (*stop, *model.template.stop)
        self.messages: list[Message] = []
        self.context = model.context(n_ctx=n_ctx, n_batch=n_batch)
        self._cache = cache.of(self.context) if cache else None
        self._tape = Tape(self.context, self._cache)
        self._running: Answer | None = None
        self.system(system)

    def ask(self, text: str) -> Answer:
        """The answer to a message of the user, as an iterator of str. Both join the messages when it ends or is closed.

        An answer that is stopped before its first token leaves no trace. Raises ContextFullError (the conversation has
        outgrown the context; the message is not kept) and TemplateError.
        """
        self._settle()
        self.messages.append({"role": "user", "content": text})
        try:
            return self._answer()
        except BaseException:
            self.messages.pop()
            raise

    def regen(self) -> Answer:
        """Another answer to the last message of the user, in place of the one before. UsageError if there is none."""
        self._settle()
        if len(self.messages) < 2 or self.messages[-1]["role"] != "assistant":
            raise UsageError("there is no answer yet to make again")
        before = self.messages.pop()
        try:
            return self._answer()
        except BaseException:
            self.messages.append(before)
            raise

    def clear(self) -> None:
        """Forget the conversation; the system message stays."""
        self._settle()
        self.messages = [m for m in self.messages if m["role"] == "system"]

    def system(self, text: str) -> None:
        """Set the system message, or remove it with an empty text. The conversation goes on."""
        self._settle()
        self.messages = [m for m in self.messages if m["role"] != "system"]
        if text:
            self.messages.insert(0, {"role": "system", "content": text})

    def close(self) -> None:
        """Release the context."""
        self._settle()
        if self._cache:
            self._cache.close()
        self.context.close()

    def _answer(self) -> Answer:
        ids = chat_ids(self.model, self.messages)
        self._running = begin_answer(
            self.model, self._tape, ids, self._sampler, self.max_tokens, self.stop, on_end=self._remember
        )
        return self._running

    def _remember(self, said: Answer) -> None:
        self._running = None
        if said.stats.stop_reason == "cancelled" and not said.stats.answer_tokens:
            self.messages.pop()
        else:
            self.messages.append({"role": "assistant", "content": said.text})

    def _settle(self) -> None:
        """An answer that is still running ends here: two cannot share a context."""
        if self._running is not None:
            self._running.close()

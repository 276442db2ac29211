"""A conversation that keeps its context: each turn computes only what is new."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from localllm.errors import UsageError
from localllm.generate.answer import Message, TextModel, begin_answer, no_vocabulary, template_ids
from localllm.generate.dialogue.capabilities import DialogueTemplate, capabilities_of
from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.dialogue.prepare import DialogueTokenizer, Prepared, prepare
from localllm.generate.dialogue.thinking import find_thinking
from localllm.generate.loop import Tape, common
from localllm.generate.params import Sampling
from localllm.generate.prompt_cache import CacheOptions
from localllm.generate.reply import Reply
from localllm.generate.sampling import sampler_of
from localllm.generate.speculation.options import Guessing


class ChatModel(TextModel, Protocol):
    """What a conversation needs of a model (localllm.generate.session's Model is one)."""

    @property
    def tokenizer(self) -> DialogueTokenizer | None: ...
    @property
    def tool_template(self) -> DialogueTemplate: ...
    @property
    def n_bytes(self) -> int: ...
    def close(self) -> None: ...


class Chat:
    """Messages, and one context that holds them. A new turn reuses the tokens that it shares with the one before."""

    def __init__(
        self,
        model: ChatModel,
        system: str = "",
        n_ctx: int | None = None,
        n_batch: int = 512,
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        cache: CacheOptions | None = None,
        thinking: bool | None = None,
        guessing: Guessing | None = None,
    ) -> None:
        """cache: where beginnings of prompts are kept, for other conversations and processes; None: nowhere. thinking:
        whether the model thinks before it answers, where it can be told; None: as its template has it. guessing: see
        Model.generate."""
        if model.tokenizer is None:  # raise before a context is made
            raise no_vocabulary(model.path)
        self.model = model
        self._tokenizer = model.tokenizer
        self.max_tokens = max_tokens
        self.sampling = sampling or model.default_sampling
        self.thinking = thinking
        self.stop = tuple(stop)
        self.messages: list[Message] = []
        """As templates take them; an assistant's message may have reasoning_content, too."""
        self.context = model.context(n_ctx=n_ctx, n_batch=n_batch)
        self._cache = cache.of(self.context) if cache else None
        self._speculation = guessing.of(model, self.context) if guessing else None
        self._tape = Tape(self.context, self._cache, self._speculation)
        self._running: Reply | None = None
        self._replaced: Message | None = None
        """The answer that the one under way takes the place of."""
        self.system(system)

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen. To set it begins the seed's draws again: otherwise one seed gives one conversation.
        Raises UsageError for tokens that the model does not have."""
        return self._sampler.params

    @sampling.setter
    def sampling(self, chosen: Sampling) -> None:
        self._sampler = sampler_of(self.model, chosen)

    @property
    def n_bytes(self) -> int:
        """Of the weights, the states and the scratch."""
        return self.model.n_bytes + self.context.n_bytes

    @property
    def can_think(self) -> bool:
        """Whether the model marks what it thinks before it answers."""
        source = capabilities_of(self.model.template).source
        return find_thinking(source, lambda text: self._tokenizer.special_id(text) is not None) is not None

    def ask(self, text: str) -> Reply:
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

    def regen(self) -> Reply:
        """Another answer to the last message of the user, in place of the one before, which stays if this one is
        stopped before its first token. UsageError if there is none."""
        self._settle()
        if len(self.messages) < 2 or self.messages[-1]["role"] != "assistant":
            raise UsageError("there is no answer yet to make again")
        before = self.messages.pop()
        try:
            answer = self._answer()
        except BaseException:
            self.messages.append(before)
            raise
        self._replaced = before
        return answer

    def undo(self) -> str:
        """Take back the last message of the user and its answer; that message. UsageError if there is none."""
        self._settle()
        last = self._turn_starts()[-1:]
        if not last:
            raise UsageError("there is no message yet to take back")
        text = self.messages[last[0]]["content"]
        del self.messages[last[0] :]
        return text

    @property
    def n_turns(self) -> int:
        """Messages of the user, each with its answer."""
        return len(self._turn_starts())

    def drop(self, n: int) -> None:
        """Forget the n oldest turns; the system message stays. UsageError if there are not so many."""
        self._settle()
        starts = [*self._turn_starts(), len(self.messages)]
        if not 0 <= n < len(starts):
            raise UsageError(f"there are {len(starts) - 1} turns: {n} of them cannot be dropped")
        del self.messages[starts[0] : starts[n]]

    def clear(self) -> None:
        """Forget the conversation; the system message stays."""
        self.drop(self.n_turns)

    def system(self, text: str) -> None:
        """Set the system message, or remove it with an empty text. The conversation goes on."""
        self._settle()
        self.messages = [m for m in self.messages if m["role"] != "system"]
        if text:
            self.messages.insert(0, {"role": "system", "content": text})

    def restore(self, messages: Iterable[Message]) -> None:
        """Go on with another conversation; nothing is computed before the next message."""
        self._settle()
        self.messages = list(messages)

    def count(self, text: str) -> int:
        """Tokens of a text by itself."""
        return len(self._tokenizer.encode(text))

    def n_tokens(self, *more: str, dropped: int = 0) -> int:
        """Tokens that the conversation takes, with more messages of the user, and without its oldest turns."""
        starts = [*self._turn_starts(), len(self.messages)]
        kept = [*self.messages[: starts[0]], *self.messages[starts[dropped] :]]
        asked = [*kept, *({"role": "user", "content": text} for text in more)]
        return len(prepare(self.model, self._conversation(asked)).ids) if asked else 0

    def turns_to_drop(self, text: str, spare: int) -> int | None:
        """How many of the oldest turns must go so that a message fits and leaves `spare` tokens for its answer; None
        where it does not help."""
        limit, numbers = self.context.n_ctx - spare, range(self.n_turns + 1)
        n = bisect_left(numbers, -limit, key=lambda n: -self.n_tokens(text, dropped=n))
        return n if n < len(numbers) else None

    def cancel(self) -> None:
        """Stop the answer under way within 100 ms, from a signal handler or any thread; what was said is kept."""
        self._tape.stop[0] = 1

    def on_read(self, told: Callable[[int, int], None] | None) -> None:
        """told(done, total) will be called, in tokens, before and after each piece of a prompt that is read."""
        self._tape.on_read = told

    def close(self) -> None:
        """Release the context."""
        self._settle()
        if self._cache:
            self._cache.close()
        if self._speculation:
            self._speculation.close()
        self.context.close()

    def _turn_starts(self) -> list[int]:
        return [i for i, message in enumerate(self.messages) if message["role"] == "user"]

    def _conversation(self, messages: Sequence[Message]) -> Conversation:
        return Conversation(messages, thinking=self.thinking if self.can_think else None)

    def _answer(self) -> Reply:
        prepared = prepare(self.model, self._conversation(self.messages))
        self._tape.stop[0] = 0
        self._tape.pause = self._lasting(prepared)
        answer = begin_answer(
            self.model, self._tape, prepared.ids, self._sampler, self.max_tokens, (*self.stop, *prepared.stop),
            on_end=lambda _: None, constraint=prepared.constraint, show_special=prepared.show_special,
        )  # fmt: skip
        self._running = Reply(answer, prepared.new_parser(), self._remember)
        return self._running

    def _lasting(self, prepared: Prepared) -> int:
        """Tokens of the prompt that the next one begins with, too, where that matters to the states."""
        if not prepared.n_lasting or not self.context.moment_is_needed:
            return 0
        return common(template_ids(self._tokenizer, prepared.prompt[: prepared.n_lasting]), prepared.ids)

    def _remember(self, said: Reply) -> None:
        self._running = None
        before, self._replaced = self._replaced, None
        if not said.is_kept:
            if before is None:
                self.messages.pop()
            else:
                self.messages.append(before)
            return
        thoughts = {"reasoning_content": said.reasoning} if said.reasoning else {}
        self.messages.append({"role": "assistant", "content": said.text, **thoughts})

    def _settle(self) -> None:
        """An answer that is still running ends here: two cannot share a context."""
        if self._running is not None:
            self._running.close()

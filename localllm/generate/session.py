"""The model of the public interface: what localllm.model computes, plus text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from localllm.generate.answer import Answer, Message, answer, chat_ids, prompt_ids
from localllm.generate.chat import Chat
from localllm.generate.loop import Tape
from localllm.generate.params import Sampling
from localllm.generate.sampling import Sampler
from localllm.model.model import Model as Computed
from localllm.text.template import ChatTemplate, PlainTurns, chat_template

__all__ = ["Answer", "Chat", "Model"]


class Model(Computed):
    """A loaded model that writes text. Get one from `localllm.load`."""

    @cached_property
    def template(self) -> ChatTemplate | PlainTurns:
        """The file's own chat template, or plain turns (`is_fallback`) where it has none."""
        return chat_template(self.metadata.metadata, self.tokenizer)

    def generate(
        self,
        prompt: str | Sequence[int],
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        repeat_penalty: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Answer:
        """Continue a text, or token ids: an iterator of str, with `.stats` and `.close()`.

        It ends at the model's end token, at max_tokens (None: no limit), before one of the strings of `stop`, or when
        the context is full (`stats.stop_reason` says which). Other parameters: localllm.generate.params.Sampling.
        Raises ContextFullError for a prompt longer than the context, UsageError for a parameter out of its range.
        """
        sampling = Sampling(temperature, top_k, top_p, min_p, repeat_penalty, seed=seed)
        return self.answer(prompt_ids(self, prompt), sampling, max_tokens, stop)

    def chat(
        self,
        messages: Sequence[Message],
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        repeat_penalty: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Answer:
        """Answer messages ({"role": ..., "content": ...}) through the model's chat template; otherwise as `generate`.

        For a conversation of several turns use `Chat`, which keeps its context. Raises TemplateError, too.
        """
        sampling = Sampling(temperature, top_k, top_p, min_p, repeat_penalty, seed=seed)
        return self.answer(chat_ids(self, messages), sampling, max_tokens, (*stop, *self.template.stop))

    def answer(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n_ctx: int | None = None,
        n_batch: int = 512,
    ) -> Answer:
        """What `generate` and `chat` stand on: the answer to ids, in a context of its own, released at its end."""
        context = self.context(n_ctx=n_ctx, n_batch=n_batch)
        try:
            return answer(self, Tape(context), ids, Sampler(sampling), max_tokens, stop, lambda _: context.close())
        except BaseException:
            context.close()
            raise

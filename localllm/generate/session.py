"""The model of the public interface: what localllm.model computes, plus text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Unpack

from localllm.generate.answer import Answer, Message, TextModel, begin_answer, chat_ids, prompt_ids
from localllm.generate.chat import Chat
from localllm.generate.constraint import NewConstraint
from localllm.generate.loop import Tape
from localllm.generate.params import Sampling, SamplingOptions
from localllm.generate.sampling import Sampler
from localllm.model.model import LoadedModel
from localllm.text.template import ChatTemplate, PlainTurns, chat_template

__all__ = ["Answer", "Chat", "Model"]


class TextGeneration:
    """What a TextModel gains: text from prompts and messages."""

    def generate(
        self: TextModel,
        prompt: str | Sequence[int],
        max_tokens: int | None = None,
        *,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Answer:
        """Continue a text, or token ids: an iterator of str, with `.stats` and `.close()`.

        It ends at the model's end token, at max_tokens (None: no limit), before one of the strings of `stop`, or when
        the context is full (`stats.stop_reason` says which).

        sampling: how tokens are chosen (None: localllm.generate.params.Sampling's defaults). Its fields may also be
        given one by one: temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, seed.
        Raises ContextFullError for a prompt longer than the context, UsageError for a parameter out of its range.
        """
        return single_answer(self, prompt_ids(self, prompt), _sampling(sampling, options), max_tokens, stop)

    def chat(
        self: TextModel,
        messages: Sequence[Message],
        max_tokens: int | None = None,
        *,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Answer:
        """Answer messages ({"role": ..., "content": ...}) through the model's chat template; otherwise as `generate`.

        For a conversation of several turns use `Chat`, which keeps its context. Raises TemplateError, too.
        """
        stop = (*stop, *self.template.stop)
        return single_answer(self, chat_ids(self, messages), _sampling(sampling, options), max_tokens, stop)

    def answer(
        self: TextModel,
        ids: Sequence[int],
        sampling: Sampling,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n_ctx: int | None = None,
        n_batch: int = 512,
        constraint: NewConstraint | None = None,
        logprobs: int | None = None,
    ) -> Answer:
        """What `generate` and `chat` are made of: the answer to ids, in a context of its own, released at its end.

        constraint: what may come next. logprobs: how many of the likeliest tokens `Answer.logprobs` tells at each place
        (0: the chosen one alone; None: it stays empty).
        """
        return single_answer(self, ids, sampling, max_tokens, stop, n_ctx, n_batch, constraint, logprobs)


class Model(TextGeneration, LoadedModel):
    """A loaded model that writes text. Get one from `localllm.load`."""

    @cached_property
    def template(self) -> ChatTemplate | PlainTurns:
        """The file's own chat template, or plain dialogue (`is_fallback`) where it has none."""
        return chat_template(self.metadata, self.tokenizer)


def single_answer(
    model: TextModel,
    ids: Sequence[int],
    sampling: Sampling,
    max_tokens: int | None = None,
    stop: Sequence[str] = (),
    n_ctx: int | None = None,
    n_batch: int = 512,
    constraint: NewConstraint | None = None,
    logprobs: int | None = None,
) -> Answer:
    """The answer to ids, in a context of its own, which is closed at its end."""
    context = model.context(n_ctx=n_ctx, n_batch=n_batch)
    try:
        sampler = Sampler(sampling, model.suppressed)
        return begin_answer(
            model, Tape(context), ids, sampler, max_tokens, stop, lambda _: context.close(), constraint, logprobs
        )
    except BaseException:
        context.close()
        raise


def _sampling(sampling: Sampling | None, options: SamplingOptions) -> Sampling:
    return replace(sampling or Sampling(), **options)

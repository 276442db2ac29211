"""The model of the public interface: what localllm.model computes, plus text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import closing as closing_of
from dataclasses import replace
from typing import Self, Unpack

from localllm.errors import TemplateError
from localllm.gate import calls
from localllm.generate.answer import (
    Answer,
    Message,
    TextModel,
    begin_answer,
    new_constraint,
    prompt_ids,
)
from localllm.generate.chat import Chat
from localllm.generate.constraint import NewConstraint
from localllm.generate.dialogue.prepare import chat_ids
from localllm.generate.grammar import Grammar, JsonSchema
from localllm.generate.loop import Tape
from localllm.generate.params import Sampling, SamplingOptions, defaults_of
from localllm.generate.prompt_cache import CacheOptions
from localllm.generate.sampling import Processor, sampler_of
from localllm.generate.speculation.options import Guessing
from localllm.model.model import LoadedModel
from localllm.runtime.turn import lazy
from localllm.text.template import TEMPLATE_KEY, ChatTemplate, PlainTurns, chat_template, chosen_template

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
        logits_processor: Processor | Sequence[Processor] = (),
        grammar: Grammar | None = None,
        json_schema: JsonSchema | None = None,
        guessing: Guessing | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Answer:
        """Continue a text, or token ids: an iterator of str, with `.stats` and `.close()`.

        It ends at the model's end token, at max_tokens (None: no limit), before one of the strings of `stop`, or when
        the context is full (`stats.stop_reason` says which).

        - sampling: how tokens are chosen (None: as the file's general.sampling keys say, or else as
          localllm.generate.params.Sampling does). Its fields may also be given one by one: temperature=0, seed=1, ...
        - logits_processor: one or several callables (ids, logits) that may change the logits (float32 [n_vocab]) before
          each choice, in place or by those that they return.
        - grammar: what the answer must be (localllm.generate.grammar.Grammar: a regular expression, Lark, GBNF, ...).
        - json_schema: the answer is JSON that meets this schema (a dict, JSON text, or a class of pydantic's); objects
          whose `properties` are named have no others, unless additionalProperties says so.
        - guessing: localllm.Guessing() guesses tokens to come from the text so far, localllm.Guessing(small_model) by
          another model, localllm.Guessing(mtp=True) by the model's own layer for multi-token prediction: the same
          answer, sooner where guesses are right.

        grammar and json_schema need the package llguidance. An answer that is cut by max_tokens, or by the context, is
        only the beginning of what they ask for.
        Raises ContextFullError for a prompt longer than the context, UsageError for a parameter out of its range,
        GrammarError for a grammar or a schema that no answer can meet.
        """
        constraint = new_constraint(self, grammar, json_schema)
        chosen = replace(sampling or self.default_sampling, **options)
        processors = _several(logits_processor)
        return single_answer(
            self, prompt_ids(self, prompt), chosen, max_tokens, stop, constraint=constraint, processors=processors,
            guessing=guessing,
        )  # fmt: skip

    def chat(
        self: TextModel,
        messages: Sequence[Message],
        max_tokens: int | None = None,
        *,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
        logits_processor: Processor | Sequence[Processor] = (),
        grammar: Grammar | None = None,
        json_schema: JsonSchema | None = None,
        guessing: Guessing | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Answer:
        """Answer messages ({"role": ..., "content": ...}) through the model's chat template; otherwise as `generate`.

        For a conversation of several turns use `Chat`, which keeps its context. Raises TemplateError, too.
        """
        constraint, stop = new_constraint(self, grammar, json_schema), (*calls.texts("stop", stop), *self.template.stop)
        chosen = replace(sampling or self.default_sampling, **options)
        processors = _several(logits_processor)
        return single_answer(
            self, chat_ids(self, messages), chosen, max_tokens, stop, constraint=constraint, processors=processors,
            guessing=guessing,
        )  # fmt: skip

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
        ignore_eog: bool = False,
        cache: CacheOptions | None = None,
        guessing: Guessing | None = None,
    ) -> Answer:
        """What `generate` and `chat` are made of: the answer to ids, in a context of its own, released at its end.

        constraint: what may come next. logprobs: how many of the likeliest tokens `Answer.logprobs` tells at each place
        (0: the chosen one alone; None: it stays empty). ignore_eog: the model's end tokens are never chosen.
        cache: where beginnings of prompts are kept, for answers to come; None: nowhere. guessing: see `generate`.
        """
        return single_answer(
            self, ids, sampling, max_tokens, stop, n_ctx, n_batch, constraint, logprobs, ignore_eog=ignore_eog,
            cache=cache, guessing=guessing,
        )  # fmt: skip


class Model(TextGeneration, LoadedModel):
    """A loaded model that writes text. Get one from `localllm.load`."""

    def with_template(self, given: str | None) -> Self:
        """The same model; its conversations go through another chat template than the file's own: one by its name
        (localllm.text.templates), a file with one in Jinja, or the text of one. None: the file's own.

        Raises UsageError for an unknown name, FileError for a file that cannot be read; the model is closed then.
        """
        if given is not None:
            try:
                self.template = self.tool_template = chosen_template(given, self.metadata, self.tokenizer)
            except BaseException:
                self.close()
                raise
        return self

    @lazy
    def template(self) -> ChatTemplate | PlainTurns:
        """The file's own chat template; where it has none (`is_fallback`), what its vocabulary asks for, or plain
        dialogue. `description` says which. Raises TemplateError, which names the file."""
        return self._own_template()

    @lazy
    def tool_template(self) -> ChatTemplate | PlainTurns:
        """What conversations with tools go through: the file's template `tool_use`, where it has one of that name."""
        if f"{TEMPLATE_KEY}.tool_use" not in self.metadata:
            return self.template
        return self._own_template("tool_use")

    def _own_template(self, name: str | None = None) -> ChatTemplate | PlainTurns:
        try:
            return chat_template(self.metadata, self.tokenizer, name)
        except TemplateError as error:
            raise TemplateError(f"{self.path}: {error}") from None

    @lazy
    def default_sampling(self) -> Sampling:
        """How tokens are chosen where nobody says it: as the file's keys general.sampling do, or else by default."""
        return defaults_of(self.metadata)


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
    processors: Sequence[Processor] = (),
    ignore_eog: bool = False,
    cache: CacheOptions | None = None,
    guessing: Guessing | None = None,
) -> Answer:
    """The answer to ids, in a context of its own, which is closed at its end."""
    closing = ExitStack()
    try:
        context = closing.enter_context(closing_of(model.context(n_ctx=n_ctx, n_batch=n_batch)))
        kept = closing.enter_context(closing_of(cache.of(context))) if cache else None
        speculation = closing.enter_context(closing_of(guessing.of(model, context))) if guessing else None
        sampler = sampler_of(model, sampling, processors)
        return begin_answer(
            model, Tape(context, kept, speculation), ids, sampler, max_tokens, stop, lambda _: closing.close(),
            constraint, logprobs, ignore_eog,
        )  # fmt: skip
    except BaseException:
        closing.close()
        raise


def _several(given: Processor | Sequence[Processor]) -> Sequence[Processor]:
    return (given,) if callable(given) else given

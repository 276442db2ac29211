"""One answer: an iterator over its pieces that knows its statistics, and the way from a prompt to token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from localllm.errors import UnsupportedError, UsageError
from localllm.gate import calls
from localllm.generate.constraint import NewConstraint
from localllm.generate.grammar import Grammar, JsonSchema, compile_grammar, schema_text
from localllm.generate.grammar_vocabulary import TextTokenizer as GrammarTokenizer
from localllm.generate.loop import Engine, Tape, drive
from localllm.generate.params import Sampling
from localllm.generate.piece import TokenLogprob
from localllm.generate.prompt_cache import Keeper
from localllm.generate.samplers.row import Floats
from localllm.generate.samplers.stage import Vocabulary
from localllm.generate.sampling import Sampler
from localllm.generate.sequence import AnswerSequence, Decoder
from localllm.generate.speculation.predicting import Layer
from localllm.generate.stats import Stats

Message = dict[str, str]
"""One turn: {"role": "system" | "user" | "assistant", "content": text}."""


class TextTokenizer(Vocabulary, GrammarTokenizer, Protocol):
    """What an answer needs of a tokenizer (localllm.text's Tokenizer is one)."""

    @property
    def bos_id(self) -> int | None: ...
    @property
    def add_bos(self) -> bool: ...
    def stream(self, special: bool = False) -> Decoder: ...


class TextTemplate(Protocol):
    """What a conversation needs of a chat template (localllm.text's ChatTemplate and PlainTurns are such)."""

    @property
    def is_fallback(self) -> bool: ...
    @property
    def advice(self) -> str: ...
    @property
    def stop(self) -> tuple[str, ...]: ...
    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **extra: Any
    ) -> str: ...


class TextContext(Engine, Keeper, Protocol):
    """A context that can be released."""

    @property
    def n_bytes(self) -> int: ...
    @property
    def hidden(self) -> Floats: ...
    def close(self) -> None: ...


class TextModel(Protocol):
    """What an answer needs of a model (localllm.generate.session's Model is one)."""

    @property
    def path(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def tokenizer(self) -> TextTokenizer | None: ...
    @property
    def template(self) -> TextTemplate: ...
    @property
    def suppressed(self) -> Sequence[int]: ...
    @property
    def default_sampling(self) -> Sampling: ...
    def context(self, n_ctx: int | None = None, n_seq: int = 1, n_batch: int = 512) -> TextContext: ...
    def predictor(self, n_ctx: int | None = None, n_batch: int = 512) -> Layer: ...


class Answer(Iterator[str]):
    """The pieces of an answer, each computed when it is requested. Closing it early stops the work."""

    def __init__(self, tape: Tape, sequence: AnswerSequence, on_end: Callable[[Answer], None]) -> None:
        self.stats: Stats = sequence.stats
        self.logprobs: list[TokenLogprob] = []
        """Of `ids`, where they were asked for."""
        self._sequence = sequence
        self._pieces = drive(tape, sequence)
        self._shown: list[str] = []
        self._on_end: Callable[[Answer], None] | None = on_end

    @property
    def text(self) -> str:
        """What has been said so far."""
        return "".join(self._shown)

    @property
    def ids(self) -> list[int]:
        """The tokens of the answer so far, without the model's end token."""
        return self._sequence.ids[self._sequence.n_prompt :]

    def __next__(self) -> str:
        try:
            while True:
                piece = next(self._pieces)
                self.logprobs += piece.logprobs
                if piece.text:
                    break
        except BaseException:  # the end, Ctrl-C or an error: in each case nothing follows
            self.close()
            raise
        self._shown.append(piece.text)
        return piece.text

    def close(self) -> None:
        """Stop here. Does nothing when the answer has ended already."""
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        self._pieces.close()
        self._sequence.end("cancelled")  # of one that was not begun
        on_end(self)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def new_sequence(
    model: TextModel,
    ids: Sequence[int],
    sampler: Sampler,
    n_ctx: int,
    max_tokens: int | None = None,
    stop: Sequence[str] = (),
    constraint: NewConstraint | None = None,
    logprobs: int | None = None,
    show_special: bool = False,
    ignore_eog: bool = False,
    sampled_logprobs: bool = False,
) -> AnswerSequence:
    """The answer of a model to a prompt of ids, not begun: what each door to it makes of the same parameters, which are
    those of localllm.engine.request's Request. Raises ContextFullError if the prompt does not fit."""
    tokenizer = vocabulary(model)
    return AnswerSequence(
        ids, sampler, tokenizer.stream(show_special), n_ctx=n_ctx, eog_ids=tokenizer.eog_ids,
        max_tokens=calls.max_tokens(max_tokens), stop=calls.texts("stop", stop),
        constraint=constraint and constraint(), logprobs=logprobs, ignore_eog=ignore_eog,
        sampled_logprobs=sampled_logprobs,
    )  # fmt: skip


def begin_answer(
    model: TextModel,
    tape: Tape,
    ids: Sequence[int],
    sampler: Sampler,
    max_tokens: int | None,
    stop: Sequence[str],
    on_end: Callable[[Answer], None],
    constraint: NewConstraint | None = None,
    logprobs: int | None = None,
    ignore_eog: bool = False,
    show_special: bool = False,
) -> Answer:
    """The answer to a prompt of ids. Raises ContextFullError here, before anything is computed, if it does not fit."""
    sequence = new_sequence(
        model, ids, sampler, tape.engine.n_ctx, max_tokens, stop, constraint, logprobs, show_special, ignore_eog
    )
    return Answer(tape, sequence, on_end)


class HasVocabulary(Protocol):
    """A model that may have a tokenizer."""

    @property
    def path(self) -> str: ...
    @property
    def tokenizer(self) -> TextTokenizer | None: ...


def vocabulary(model: HasVocabulary) -> TextTokenizer:
    """The model's tokenizer; UnsupportedError for a model that runs on ids alone."""
    if model.tokenizer is None:
        raise no_vocabulary(model.path)
    return model.tokenizer


def new_constraint(
    model: HasVocabulary, grammar: Grammar | None = None, json_schema: JsonSchema | None = None
) -> NewConstraint | None:
    """What holds answers to a grammar, or to a schema; None for neither. Raises GrammarError, UsageError for both."""
    if grammar is not None and json_schema is not None:
        raise UsageError("grammar and json_schema: an answer is held to one of them")
    if json_schema is not None:
        grammar = Grammar("json_schema", schema_text(json_schema))
    return None if grammar is None else compile_grammar(vocabulary(model), grammar)


def no_vocabulary(path: str) -> UnsupportedError:
    """The error for a model that runs on ids alone."""
    return UnsupportedError(
        f"{path}: has no vocabulary (tokenizer.ggml.model is no_vocab): it cannot make text; use model.logits"
    )


def prompt_ids(model: TextModel, prompt: str | Sequence[int]) -> list[int]:
    """A prompt as ids. Text gets the special tokens that the model wants; those written in it count as such."""
    if isinstance(prompt, str):
        return vocabulary(model).encode(prompt, add_special=True, parse_special=True)
    return calls.integers("token id", prompt)


def template_ids(tokenizer: TextTokenizer, text: str) -> list[int]:
    """What a template wrote, as ids.

    Most templates write the beginning-of-text token themselves: it is added only where the model wants it and the
    template left it out.
    """
    ids = tokenizer.encode(text, add_special=False, parse_special=True)
    if tokenizer.add_bos and tokenizer.bos_id is not None and ids[:1] != [tokenizer.bos_id]:
        ids.insert(0, tokenizer.bos_id)
    return ids

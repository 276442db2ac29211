"""One answer: an iterator over its pieces that knows its statistics, and the way from a prompt to token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from localllm.errors import UnsupportedError
from localllm.generate.loop import Decoder, Engine, Stats, Tape, answer_ids, answer_text, check_prompt
from localllm.generate.sampling import Sampler

Message = dict[str, str]
"""One turn: {"role": "system" | "user" | "assistant", "content": text}."""


class TextTokenizer(Protocol):
    """What an answer needs of a tokenizer (localllm.text's Tokenizer is one)."""

    @property
    def bos_id(self) -> int | None: ...
    @property
    def add_bos(self) -> bool: ...
    @property
    def eog_ids(self) -> frozenset[int]: ...
    def encode(self, text: str, add_special: bool = False, parse_special: bool = False) -> list[int]: ...
    def stream(self) -> Decoder: ...


class TextTemplate(Protocol):
    """What a conversation needs of a chat template (localllm.text's ChatTemplate and PlainTurns are such)."""

    @property
    def is_fallback(self) -> bool: ...
    @property
    def stop(self) -> tuple[str, ...]: ...
    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str: ...


class TextContext(Engine, Protocol):
    """A context that can be released."""

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
    def context(self, n_ctx: int | None = None, n_seq: int = 1, n_batch: int = 512) -> TextContext: ...


class Answer(Iterator[str]):
    """The pieces of an answer, each computed when it is requested. Closing it early stops the work."""

    def __init__(self, pieces: Iterator[str], stats: Stats, on_end: Callable[[Answer], None]) -> None:
        self.stats = stats
        self._pieces = pieces
        self._shown: list[str] = []
        self._on_end: Callable[[Answer], None] | None = on_end

    @property
    def text(self) -> str:
        """What has been said so far."""
        return "".join(self._shown)

    def __next__(self) -> str:
        try:
            piece = next(self._pieces)
        except BaseException:  # the end, Ctrl-C or an error: in each case nothing follows
            self.close()
            raise
        self._shown.append(piece)
        return piece

    def close(self) -> None:
        """Stop here. Does nothing when the answer has ended already."""
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        getattr(self._pieces, "close", lambda: None)()
        self.stats.stop_reason = self.stats.stop_reason or "cancelled"
        on_end(self)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def begin_answer(
    model: TextModel,
    tape: Tape,
    ids: Sequence[int],
    sampler: Sampler,
    max_tokens: int | None,
    stop: Sequence[str],
    on_end: Callable[[Answer], None],
) -> Answer:
    """The answer to a prompt of ids. Raises ContextFullError here, before anything is computed, if it does not fit."""
    check_prompt(len(ids), tape.engine.n_ctx)
    tokenizer = vocabulary(model)
    stats = Stats()
    tokens = answer_ids(tape, ids, sampler, stats, tokenizer.eog_ids, max_tokens)
    return Answer(answer_text(tokens, tokenizer.stream(), stats, stop), stats, on_end)


def vocabulary(model: TextModel) -> TextTokenizer:
    """The model's tokenizer; UnsupportedError for a model that runs on ids alone."""
    if model.tokenizer is None:
        raise UnsupportedError(
            f"{model.path}: has no vocabulary (tokenizer.ggml.model is no_vocab): it cannot make text; use model.logits"
        )
    return model.tokenizer


def prompt_ids(model: TextModel, prompt: str | Sequence[int]) -> list[int]:
    """A prompt as ids. Text gets the special tokens that the model wants; those written in it count as such."""
    if isinstance(prompt, str):
        return vocabulary(model).encode(prompt, add_special=True, parse_special=True)
    return list(prompt)


def chat_ids(model: TextModel, messages: Sequence[Message]) -> list[int]:
    """Messages as ids, through the model's template, ready for the assistant's turn.

    Most templates write the beginning-of-text token themselves: it is added only where the model wants it and the
    template left it out. Raises TemplateError.
    """
    tokenizer = vocabulary(model)
    text = model.template.render(list(messages), add_generation_prompt=True)
    ids = tokenizer.encode(text, add_special=False, parse_special=True)
    if tokenizer.add_bos and tokenizer.bos_id is not None and ids[:1] != [tokenizer.bos_id]:
        ids.insert(0, tokenizer.bos_id)
    return ids

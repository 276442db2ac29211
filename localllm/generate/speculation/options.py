"""Who guesses: what a caller asks for, and what becomes of it beside a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from localllm.errors import UsageError
from localllm.generate.speculation.ngrams import NGrams
from localllm.generate.speculation.predicting import Hidden, Layer, Predicting
from localllm.generate.speculation.small_model import DraftContext, HasTokens, SmallModel, check_vocabularies
from localllm.generate.speculation.speculation import Speculation


class DraftModel(Protocol):
    """A small model that guesses (localllm.generate.session's Model is one)."""

    @property
    def path(self) -> str: ...
    @property
    def tokenizer(self) -> HasTokens | None: ...
    def context(self, n_ctx: int | None = None) -> DraftContext: ...


class GuessedModel(Protocol):
    """The model whose answer is guessed."""

    @property
    def path(self) -> str: ...
    @property
    def tokenizer(self) -> HasTokens | None: ...
    def predictor(self, n_ctx: int | None = None, n_batch: int = 512) -> Layer: ...


@dataclass(frozen=True)
class Guessing:
    """Guess the tokens to come and verify several in one pass: faster where guesses are right, and the same answer.

    model: a smaller model of the same vocabulary; None: what followed the last tokens when they stood in the text
    before. mtp: the model itself, by its layer for multi-token prediction, which its file must have.
    """

    model: DraftModel | None = None
    mtp: bool = False

    def of(self, guessed: GuessedModel, context: Hidden) -> Speculation:
        """For one context of `guessed`. Raises UsageError for a vocabulary that is not the same, and as
        Model.predictor."""
        if self.mtp:
            return self._predicting(guessed, context)
        if self.model is None:
            return Speculation(NGrams())
        small, large = self.model.tokenizer, guessed.tokenizer
        if small is None or large is None:
            raise UsageError(f"{self.model.path}: cannot guess for {guessed.path}: both need a vocabulary")
        check_vocabularies(small, large, self.model.path)
        return Speculation(SmallModel(self.model.context(n_ctx=context.n_ctx), large.n_vocab))

    def _predicting(self, guessed: GuessedModel, context: Hidden) -> Speculation:
        if self.model:
            raise UsageError("guessing: either by a model, or by the model's own layer (mtp)")
        return Speculation(Predicting(context, guessed.predictor(context.n_ctx, context.n_batch)))

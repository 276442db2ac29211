"""Guesses of a smaller model that has the same vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from localllm.errors import UsageError
from localllm.generate.samplers.row import Floats
from localllm.generate.speculation.drafter import Draft, common

_SURE = 0.75
"""A guess below this probability ends a draft, as --draft-p-min of llama.cpp."""
_SAMPLE = 997
"""Every so many tokens are compared of vocabularies that begin alike."""


class DraftContext(Protocol):
    """What a drafter needs of a context (localllm.model's Context is one)."""

    @property
    def n_ctx(self) -> int: ...
    @property
    def n_batch(self) -> int: ...
    def forward(self, tokens: Sequence[int]) -> Floats: ...
    def cut(self, seq_id: int, position: int) -> int: ...
    def close(self) -> None: ...


class HasTokens(Protocol):
    """A tokenizer's vocabulary."""

    @property
    def n_vocab(self) -> int: ...
    def token_bytes(self, token_id: int, special: bool = False) -> bytes: ...


class SmallModel:
    """Greedy guesses, from a context of the small model's that follows the text."""

    expected = (0.7,)
    asks_first = False

    def __init__(self, context: DraftContext, n_vocab: int) -> None:
        """n_vocab: ids that the large model knows; others are no guesses."""
        self._context, self._n_vocab = context, n_vocab
        self._held: list[int] = []

    def passed(self, ids: Sequence[int], stop: np.ndarray) -> None:
        """See Drafter: it follows the text when it guesses."""

    def draft(self, ids: Sequence[int], n: int) -> Draft:
        """See Drafter. Guesses end where the model is not sure."""
        n = min(n, self._context.n_ctx - len(ids))
        if n <= 0:
            return Draft()
        logits = self._follow(ids)
        guesses: list[int] = []
        while True:
            token, chance = _likeliest(logits)
            if chance < _SURE or token >= self._n_vocab:
                break
            guesses.append(token)
            if len(guesses) == n:
                break
            logits = self._context.forward([token])[-1]
            self._held.append(token)
        return Draft(guesses)

    def _follow(self, ids: Sequence[int]) -> Floats:
        """Logits after `ids`: what is held of them already is not evaluated again."""
        n = common(self._held, ids)
        if n == len(ids):
            n -= 1  # its logits are wanted
        if n < len(self._held):
            n = self._context.cut(0, n)
            del self._held[n:]
        for start in range(n, len(ids), self._context.n_batch):
            chunk = list(ids[start : start + self._context.n_batch])
            logits = self._context.forward(chunk)
            self._held += chunk
        last: Floats = logits[-1]
        return last

    def close(self) -> None:
        """See Drafter."""
        self._context.close()


def check_vocabularies(small: HasTokens, large: HasTokens, name: str) -> None:
    """Raise UsageError where the ids of the small model, `name`, do not mean what they mean to the large one. Paddings
    at the end may differ."""
    n = min(small.n_vocab, large.n_vocab)
    for i in (*range(min(n, 256)), *range(0, n, _SAMPLE), n - 1):
        there, here = small.token_bytes(i, special=True), large.token_bytes(i, special=True)
        if there != here:
            raise UsageError(
                f"{name}: cannot guess for this model: token {i} is {there!r:.40} there and {here!r:.40} here; take a "
                "small model of the same family"
            )


def _likeliest(logits: Floats) -> tuple[int, float]:
    token = int(logits.argmax())
    return token, float(1.0 / np.exp(logits - logits[token]).sum(dtype=np.float64))

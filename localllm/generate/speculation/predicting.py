"""Guesses of the model's own layer for multi-token prediction (MTP).

A row of the layer is a token and the hidden state of the token before it, of which a context gives those of its last
batch. So the drafter hears of every batch; it evaluates rows of prompts then, and keeps a few of an answer until a
guess is wanted, since several together cost little more than one. Where a hidden state is not known (its token came
from the prompt cache, or lies before one that was cut away) the row is left out, and the layer sees less. The layer
guesses on from what it left itself, as vLLM has it where a file has one such layer; those rows are taken back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from localllm.generate.samplers.row import Floats
from localllm.generate.speculation.drafter import Draft, common

_WAITING = 64
"""Rows that are kept for the next guess, at most."""


class Hidden(Protocol):
    """What it needs of the context whose tokens are guessed (localllm.model's Context is one)."""

    @property
    def n_ctx(self) -> int: ...
    @property
    def n_batch(self) -> int: ...
    @property
    def hidden(self) -> Floats: ...


class Layer(Protocol):
    """The layer, with cells of its own (localllm.model's Predictor is one)."""

    @property
    def n_past(self) -> int: ...
    def forward(
        self,
        tokens: Sequence[int],
        hidden: Floats | None = None,
        want_logits: bool = True,
        stop: np.ndarray | None = None,
    ) -> Floats: ...
    def cut(self, position: int) -> int: ...
    def close(self) -> None: ...


class Predicting:
    """Greedy guesses; the guess after the next token is the surest."""

    expected = (0.7,)
    asks_first = True

    def __init__(self, context: Hidden, layer: Layer) -> None:
        self._context, self._layer = context, layer
        self._ids: list[int] = []
        """The text that rows were made of."""
        self._rows: list[int] = []
        """Of each row of the layer, evaluated or waiting, the position of its hidden state, ascending."""
        self._tokens: list[int] = []
        self._waiting: list[Floats] = []
        """The tokens and hidden states of the rows that wait."""
        self._first = 0
        self._hidden: Floats = np.zeros((0, 0), np.float32)
        """Hidden states of the last batch, the first at position _first."""
        self._stop: np.ndarray | None = None

    def passed(self, ids: Sequence[int], stop: np.ndarray) -> None:
        """See Drafter."""
        self._stop = stop
        hidden = self._context.hidden.copy()
        first, kept = len(ids) - len(hidden), common(self._ids, ids)
        self._take_back(kept)
        before = self._hidden[first - 1 - self._first] if self._knows(first - 1, kept) else None
        del self._ids[kept:]
        self._ids += ids[kept:]
        done = self._rows[-1] if self._rows else -1
        for i in range(max(first - 1, 0, done + 1), len(ids) - 1):
            row = before if i < first else hidden[i - first]
            if row is not None:
                self._add(i, ids[i + 1], row)
        self._first, self._hidden = first, hidden
        if len(self._waiting) >= _WAITING:
            self._evaluate(want_logits=False)

    def _knows(self, position: int, kept: int) -> bool:
        """Whether the hidden state of a position is at hand, of a text whose first `kept` tokens are as they were."""
        return self._first <= position < min(self._first + len(self._hidden), kept)

    def _add(self, position: int, token: int, row: Floats) -> None:
        self._rows.append(position)
        self._tokens.append(token)
        self._waiting.append(row)

    def _take_back(self, kept: int) -> None:
        """Forget the rows of tokens behind the first `kept` ones: a row at i has read token i + 1."""
        n = bisect_right(self._rows, kept - 2)
        n_held = len(self._rows) - len(self._waiting)
        del self._tokens[max(0, n - n_held) :], self._waiting[max(0, n - n_held) :]
        if n < n_held:
            n = self._layer.cut(n)
        del self._rows[n:]

    def draft(self, ids: Sequence[int], n: int) -> Draft:
        """See Drafter."""
        read = self._first + len(self._hidden)
        n = min(n, self._context.n_ctx - len(ids))
        if n <= 0 or not read or len(ids) <= read or common(self._ids, ids) < read:
            return Draft()
        self._take_back(read)
        self._add(read - 1, ids[read], self._hidden[-1])
        del self._ids[read:]
        self._ids.append(ids[read])
        logits, guesses = self._evaluate(), []
        n_past = self._layer.n_past
        try:
            for token in ids[read + 1 :]:
                logits = self._layer.forward([token], stop=self._stop)
            while True:
                guesses.append(int(logits.argmax()))
                if len(guesses) == n:
                    break
                logits = self._layer.forward(guesses[-1:], stop=self._stop)
        finally:
            if self._layer.n_past > n_past:
                del self._rows[self._layer.cut(n_past) :]
        return Draft(guesses)

    def _evaluate(self, want_logits: bool = True) -> Floats:
        """Evaluate the rows that wait; logits after the last one, if they are wanted."""
        logits: Floats = np.zeros(0, np.float32)
        while self._waiting:
            n = min(len(self._waiting), self._context.n_batch)
            is_last = n == len(self._waiting)
            logits = self._layer.forward(
                self._tokens[:n], np.stack(self._waiting[:n]), want_logits and is_last, self._stop
            )
            del self._tokens[:n], self._waiting[:n]
        return logits

    def close(self) -> None:
        """See Drafter."""
        self._layer.close()

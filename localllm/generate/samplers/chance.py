"""The random numbers of one answer."""

from __future__ import annotations

import os

import numpy as np

from localllm.generate.samplers.row import Floats

_SEED_BITS = 2**64 - 1
_BLOCK = 512


class Chance:
    """A generator with a seed; None takes one of the system's."""

    def __init__(self, seed: int | None) -> None:
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        self._random: np.random.Generator | None = None

    def uniform(self) -> float:
        """In [0, 1). numpy.random is imported only when chance is needed: greedy text starts sooner."""
        if self._random is None:
            self._random = np.random.Generator(np.random.PCG64(self.seed & _SEED_BITS))
        return float(self._random.random())

    def draw(self, weights: Floats) -> int:
        """A place, each as often as its weight says; never one of weight 0. weights: float32 [n], some above 0."""
        n = len(weights)
        if n == 1:
            return 0
        start, u = 0, self.uniform()
        if n > 8 * _BLOCK:  # a block first, then a place in it
            blocks = np.add.reduceat(weights, np.arange(0, n, _BLOCK), dtype=np.float64)
            block, u = _place(blocks, u)
            start = block * _BLOCK
            weights = weights[start : start + _BLOCK]
        return start + _place(weights.astype(np.float64), u)[0]


def _place(weights: np.ndarray, u: float) -> tuple[int, float]:
    """Where u, a part of the whole weight, falls; and the part of that element's weight that lies below it."""
    reached = np.cumsum(weights)
    aim = u * reached[-1]
    place = int(np.searchsorted(reached, aim, side="right"))
    last = int(np.searchsorted(reached, reached[-1]))  # what follows has no chance
    place = min(place, last)
    return place, min((aim - (reached[place] - weights[place])) / weights[place], 1.0)

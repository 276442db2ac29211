"""How long passes take, by their rows, and how many rows of prompts a pass may have."""

from __future__ import annotations

import math
from bisect import bisect_left

SIZES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Rows that times are kept for; a pass counts for the smallest that holds it."""
_NEW = 0.3
"""Weight of a new measurement."""
_TILE = 16
"""Rows that matrix products compute at once: a pass with prompts has whole tiles."""
_MIN_PIECE = 8
"""Rows of prompts in each pass: they go on even where answers alone take longer than the bound."""


class Pace:
    """Measured times of passes."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        """A row's share of a pass, by size."""

    def note(self, rows: int, seconds: float) -> None:
        """A pass of so many rows has taken so long."""
        size, new = _size(rows), seconds / rows
        self._seconds[size] = new if size not in self._seconds else (1 - _NEW) * self._seconds[size] + _NEW * new

    def seconds(self, rows: int) -> float:
        """What a pass of so many rows is expected to take; infinite where nothing is known.

        A row of a larger pass costs no more than one of a smaller pass: so a single measurement that was far too long
        does not keep passes small for ever.
        """
        size = _size(rows)
        below = [seconds for known, seconds in self._seconds.items() if known <= size]
        if below:
            return rows * min(below)
        return rows * self._seconds[min(self._seconds)] if self._seconds else math.inf

    def piece(self, n_answers: int, n_batch: int, max_gap: float) -> int:
        """Rows of prompts beside n_answers rows of answers, so that the pass ends within max_gap seconds."""
        if not n_answers:
            return n_batch
        totals = [size for size in SIZES if size % _TILE == 0 and n_answers + _MIN_PIECE <= size <= n_batch]
        if not totals:
            return n_batch - n_answers
        return max((total for total in totals if self.seconds(total) <= max_gap), default=totals[0]) - n_answers


def _size(rows: int) -> int:
    return SIZES[min(bisect_left(SIZES, rows), len(SIZES) - 1)]

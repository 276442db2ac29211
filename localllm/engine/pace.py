"""How long passes take, by their rows, and how many rows of prompts a pass may have."""

from __future__ import annotations

from bisect import bisect_left

SIZES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Rows that times are kept for; a pass counts for the smallest that holds it."""
_NEW = 0.3
"""Weight of a new measurement."""
_MIN_PIECE = 16
"""Rows of prompts in each pass: they go on even where answers alone take longer than the bound."""
_TILE = 16
"""Rows that matrix products compute at once: a few more cost nothing."""


class Pace:
    """Measured times of passes."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        """A row's share of a pass, by size."""

    def note(self, rows: int, seconds: float) -> None:
        """A pass of so many rows has taken so long."""
        size = SIZES[min(bisect_left(SIZES, rows), len(SIZES) - 1)]
        new = seconds / rows
        self._seconds[size] = new if size not in self._seconds else (1 - _NEW) * self._seconds[size] + _NEW * new

    def seconds(self, rows: int) -> float:
        """What a pass of so many rows is expected to take; 0 where nothing is known."""
        if not self._seconds or not rows:
            return 0.0
        size = min(self._seconds, key=lambda known: abs(known - rows))
        return self._seconds[size] * rows

    def piece(self, n_answers: int, n_batch: int, max_gap: float) -> int:
        """Rows of prompts beside n_answers rows of answers, so that the pass ends within max_gap seconds."""
        room = n_batch - n_answers
        if not n_answers:
            return room
        piece = _MIN_PIECE
        while piece < room:
            more = min(room, -(-(n_answers + 2 * piece) // _TILE) * _TILE - n_answers)
            if not self._seconds or self.seconds(n_answers + more) > max_gap:
                break
            piece = more
        return max(0, min(piece, room))

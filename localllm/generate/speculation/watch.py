"""How many tokens to guess: as many as pay, by what passes took and how often guesses were right."""

from __future__ import annotations

from dataclasses import dataclass, field

SIZES = (0, 1, 2, 3, 5, 7, 11, 15)
"""Guesses a pass: a pass of up to 16 rows has one plan."""
_LEARN = 0.2
"""Weight of a new observation."""
_ROW = 0.15
"""What a further row adds to a pass, in passes of one row, as long as nothing is known."""
_GAIN = 1.05
"""Guessing must promise so much more tokens a second: estimates are noisy, and nothing may be slower for it."""
PROBE, SELDOM = 48, 192
"""Passes after which a guess is made all the same, since texts change; and where that costs more."""


@dataclass
class Watch:
    """Chooses a draft's size. Times are wall seconds of a pass, by its number of rows."""

    right: list[float]
    """The share of guesses that were right, of those whose predecessors were, by the drafts' kind."""
    seconds: dict[int, float] = field(default_factory=dict)
    drafting: float = 0.0
    """Seconds that a guess takes to make."""
    _since: dict[int, int] = field(default_factory=dict)
    """Passes since the last draft of a kind."""
    probe: int = PROBE

    def size(self, kind: int, room: int) -> int:
        """How many guesses to make; 0: none. room: the most that may be made."""
        sizes = [n for n in SIZES if n <= room]
        best = max(sizes, key=lambda n: self._rate(kind, n))
        if best and self._rate(kind, best) > _GAIN * self._rate(kind, 0):
            return best
        self._since[kind] = self._since.get(kind, 0) + 1
        return min(2, room) if self._since[kind] % self.probe == 0 else 0

    def _rate(self, kind: int, n: int) -> float:
        """Tokens a second that n guesses promise."""
        right = self.right[kind]
        tokens = float(sum(right**i for i in range(n + 1)))
        return tokens / (self._cost(n + 1) + n * self.drafting)

    def _cost(self, rows: int) -> float:
        """Of a pass, from the nearest that was measured."""
        if rows in self.seconds:
            return self.seconds[rows]
        if not self.seconds:
            return 1.0 + _ROW * (rows - 1)
        near = min(self.seconds, key=lambda n: abs(n - rows))
        return self.seconds[near] * (1.0 + _ROW * (rows - 1)) / (1.0 + _ROW * (near - 1))

    def note_pass(self, rows: int, seconds: float) -> None:
        """A pass was made. One that took far longer than ever, as when the machine was away, counts little."""
        known = self.seconds.get(rows)
        if known is None:
            self.seconds[rows] = seconds
        else:
            self.seconds[rows] = known + _LEARN * (min(seconds, 2.0 * known) - known)

    def note_guesses(self, kind: int, made: int, right: int) -> None:
        """Of `made` guesses the first `right` were right."""
        share = self.right[kind]
        for i in range(min(right + 1, made)):
            share += _LEARN / 2 * (float(i < right) - share)
        self.right[kind] = share

    def note_drafting(self, made: int, seconds: float) -> None:
        """A draft was made."""
        if made:
            self.drafting += _LEARN * (seconds / made - self.drafting)

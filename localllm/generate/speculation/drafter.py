"""What guesses the tokens to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Draft:
    """Guesses at the tokens that follow, in order. kind: guesses of one kind are right about as often as each other."""

    tokens: Sequence[int] = ()
    kind: int = 0


class Drafter(Protocol):
    """Makes drafts for one text at a time, which grows, and may be another one at any call."""

    @property
    def expected(self) -> Sequence[float]:
        """The share of guesses of each kind that are right, as long as nothing is known of this text."""
        ...

    @property
    def asks_first(self) -> bool:
        """How many guesses pay is asked before they are made: they take time whether they are used or not. Its drafts
        are of one kind."""
        ...

    def passed(self, ids: Sequence[int], stop: np.ndarray) -> None:
        """A batch was evaluated, and the context holds `ids` now. stop: of the answer, for what takes long."""
        ...

    def draft(self, ids: Sequence[int], n: int) -> Draft:
        """At most n guesses at what follows `ids`; none where it has no idea."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


def common(held: list[int], ids: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    n = min(len(held), len(ids))
    if held[:n] == list(ids[:n]):
        return n
    return next(i for i in range(n) if held[i] != ids[i])

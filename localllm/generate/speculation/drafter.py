"""What guesses the tokens to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


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

    def draft(self, ids: Sequence[int], n: int) -> Draft:
        """At most n guesses at what follows `ids`; none where it has no idea."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...

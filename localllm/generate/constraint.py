"""What may come next: the interface of grammars, budgets of thinking, and whatever else directs an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Constraint(Protocol):
    """Directs one answer, token by token. An answer whose constraint is finished ends with the reason "stop"."""

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of tokens that may not come next to -inf, in place. logits: float32 [n_vocab]."""

    def accept(self, token: int) -> Sequence[int]:
        """Take note of the token that was chosen; tokens that must follow it, without asking the model (often none).

        Those count as accepted.
        """

    @property
    def finished(self) -> bool:
        """Nothing may follow."""


NewConstraint = Callable[[], Constraint]
"""Makes the constraint of one answer: each of several answers to a request has its own."""

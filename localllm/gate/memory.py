"""Checks of what a model and a context take against what there is, before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable

from localllm.errors import NotEnoughMemoryError
from localllm.gate.check import check


@check(
    "weights, states of all sequences, what is computed with, and the prompt cache",
    "memory that is free: of the machine, or of a limit that the process has",
    61, error=NotEnoughMemoryError,
)  # fmt: skip
def fits(n_bytes: int, free: int, told: Callable[[], str]) -> int:
    """told: what is said of it, with the largest context that fits."""
    if n_bytes > free:
        raise NotEnoughMemoryError(told())
    return n_bytes

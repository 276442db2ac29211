"""How to choose the next token: numbers only, so that the command line can show them without numpy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypedDict

from localllm.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """Parameters of the sampler; names, order of the stages and defaults are llama.cpp's.

    The stages: repeat penalty, top-k, top-p, min-p, temperature. Raises UsageError for a value out of its range.
    """

    temperature: float = 0.8
    """0 or less is greedy: the most likely token, the one of the lowest id among equals."""
    top_k: int = 40
    """Keep the k most likely tokens; 0 or less keeps all."""
    top_p: float = 0.95
    """Keep the most likely tokens that together reach this probability; 1 keeps all."""
    min_p: float = 0.05
    """Keep tokens at least this likely relative to the most likely one; 0 keeps all."""
    repeat_penalty: float = 1.0
    """Above 1 makes tokens of the last `repeat_last_n` less likely; 1 does nothing."""
    repeat_last_n: int = 64
    """How many of the last tokens the penalty counts; -1 counts all."""
    seed: int | None = None
    """Same seed, same text; None takes another seed each time."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in _LIMITS:
                low, high = _LIMITS[field.name]
                value = getattr(self, field.name)
                if not low <= value <= high:  # also refuses NaN
                    raise UsageError(f"{field.name} is {value}: it must lie between {low} and {high}")


class SamplingOptions(TypedDict, total=False):
    """The fields of Sampling as keyword arguments."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    repeat_last_n: int
    seed: int | None


_MUCH = 1e6
_LIMITS: dict[str, tuple[float, float]] = {
    "temperature": (-_MUCH, _MUCH),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repeat_penalty": (1e-6, _MUCH),
    "repeat_last_n": (-1, 2**31 - 1),
}

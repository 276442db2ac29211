"""What a step of an answer gives: tokens, their text, and how likely they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TokenLogprob:
    """How likely a token was, by the model's own logits (before any sampling): natural logarithms."""

    token: int
    logprob: float
    top: Sequence[tuple[int, float]] = ()
    """The likeliest tokens at this place with theirs, best first."""


@dataclass(frozen=True)
class Piece:
    """What one step adds to an answer. Text may lag behind tokens: the head of a character or of a stop string is held
    back until it is known what it is."""

    text: str = ""
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of `tokens`, where they were asked for."""

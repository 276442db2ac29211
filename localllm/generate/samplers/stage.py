"""What a stage is, and what it may hold on to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from localllm.generate.params import Sampling
from localllm.generate.samplers.candidates import Candidates
from localllm.generate.samplers.chance import Chance

Stage = Callable[[Candidates], Candidates]
"""Narrows or reweighs the candidates; at least one is left."""


class Vocabulary(Protocol):
    """What DRY needs of a tokenizer (localllm.text's Tokenizer is one)."""

    @property
    def n_vocab(self) -> int: ...
    def token_bytes(self, token_id: int, special: bool = False) -> bytes: ...
    def encode(self, text: str, add_special: bool = False, parse_special: bool = False) -> list[int]: ...


@dataclass(frozen=True)
class Means:
    """What stages are made with."""

    chance: Chance
    vocabulary: Vocabulary | None = None


Make = Callable[[Sampling, Means], Stage | None]
"""The stage for some parameters, or None where it would do nothing."""

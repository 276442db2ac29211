"""How a chain ends: what is left is reshaped once more, a token is drawn, and the draw may be learned from."""

from __future__ import annotations

from typing import Protocol

from localllm.generate.samplers.candidates import Candidates
from localllm.generate.samplers.row import Weighed


class End(Protocol):
    """The last part of a chain, with its state."""

    def shape(self, candidates: Candidates) -> Candidates:
        """The candidates as they are drawn from."""

    def learn(self, weighed: Weighed, place: int) -> None:
        """Take note of the draw. weighed: the candidates that `shape` gave; place: which it was."""


class Plain:
    """A draw by the probabilities."""

    def shape(self, candidates: Candidates) -> Candidates:
        return candidates

    def learn(self, weighed: Weighed, place: int) -> None:
        pass

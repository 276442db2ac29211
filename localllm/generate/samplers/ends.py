"""How a chain ends: what is left is reshaped once more, a token is drawn, and the draw may be learned from."""

from __future__ import annotations

from typing import Protocol

from localllm.generate.samplers.candidates import Candidates, Floats


class End(Protocol):
    """The last part of a chain, with its state."""

    def shape(self, candidates: Candidates) -> Candidates:
        """The candidates as they are drawn from."""

    def learn(self, weights: Floats, place: int) -> None:
        """Take note of the draw. weights: float32 [n], of the candidates that `shape` gave; place: which it was."""


class Plain:
    """A draw by the probabilities."""

    def shape(self, candidates: Candidates) -> Candidates:
        return candidates

    def learn(self, weights: Floats, place: int) -> None:
        pass

"""Checks of the vocabulary, and of it against the rest of the model."""

from __future__ import annotations

from collections.abc import Sequence

from localllm.errors import UnsupportedError
from localllm.gate.check import Place, check


@check("tokens that are never generated", "ids of the vocabulary, and not all of them", 72)
def suppressed(place: Place, ids: Sequence[int], n_vocab: int) -> Sequence[int]:
    for token in ids:
        if not 0 <= token < n_vocab:
            raise place.error(f"holds {token}, must be 0 to {n_vocab - 1}")
    if len(set(ids)) >= n_vocab:
        raise place.error(f"holds all {n_vocab} tokens: none is left to generate")
    return ids


@check("tokens that an architecture never generates", "ids of the vocabulary", 69, 72, error=UnsupportedError)
def lowered(place: Place, ids: range, n_vocab: int) -> range:
    if ids.stop > n_vocab:
        problem = f"a vocabulary of {n_vocab} tokens; this architecture suppresses tokens {ids.start} to {ids.stop - 1}"
        raise place.error(problem, UnsupportedError)
    return ids

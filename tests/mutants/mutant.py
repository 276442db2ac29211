"""Mutant number i of a seed: always the same file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random

from tests.mutants import seeds
from tests.mutants.edits import EDITS
from tests.mutants.layout import Written, written
from tests.mutants.raw import CHANGES

_RAW_SHARE = 0.22
_EDITS, _EDIT_WEIGHTS = [e for e, _ in EDITS], list(accumulate(n for _, n in EDITS))
_CHANGES, _CHANGE_WEIGHTS = [c for c, _ in CHANGES], list(accumulate(n for _, n in CHANGES))


@dataclass(frozen=True)
class Mutant:
    """name: of the model that was changed; edits: how."""

    name: str
    edits: tuple[str, ...]
    content: bytes | bytearray
    rng: Random
    """For what is asked of it."""


@cache
def _material(names: tuple[str, ...]) -> tuple[list[float], tuple[str, ...]]:
    """How often each model is taken: those with few tensors more, for they take less time; their keys."""
    return list(accumulate(1 / len(seeds.layout(name).infos) for name in names)), seeds.known_keys(names)


def make(seed: int, i: int, names: tuple[str, ...] = tuple(seeds.SEEDS)) -> Mutant:
    """Mutant i of a seed, of one of these models. Mostly one change, at times two or three, of records or of bytes."""
    rng = Random(f"{seed}:{i}")  # of text: its hash is SHA-512, the same everywhere
    weights, keys = _material(names)
    name, other = rng.choices(names, cum_weights=weights, k=2)
    n = rng.choices((1, 2, 3), (70, 22, 8))[0]
    if rng.random() < _RAW_SHARE:
        return _of_bytes(rng, name, seeds.layout(name).as_written(), seeds.layout(other).as_written(), n)
    layout = seeds.layout(name).copy()
    edits = rng.choices(_EDITS, cum_weights=_EDIT_WEIGHTS, k=n)
    for edit in edits:
        edit(rng, layout, seeds.layout(other), keys)
        if not layout.pairs or not layout.infos:
            break
    made = written(layout)
    done = tuple(edit.__name__ for edit in edits)
    if rng.randrange(16) == 0:
        return _of_bytes(rng, name, made, seeds.layout(other).as_written(), 1, done)
    return Mutant(name, done, made.content, rng)


def _of_bytes(rng: Random, name: str, base: Written, other: Written, n: int, done: tuple[str, ...] = ()) -> Mutant:
    made = Written(bytearray(base.content), base.numbers, base.records)
    changes = rng.choices(_CHANGES, cum_weights=_CHANGE_WEIGHTS, k=n)
    for change in changes:
        if len(made.content) > made.records[-1]:  # a file that was cut before its data is left so
            made.content = change(rng, made, other)
    return Mutant(name, (*done, *(change.__name__ for change in changes)), made.content, rng)

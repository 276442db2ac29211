"""What the files of the grid formats share: what distinguishes them, and where things stand in scratch memory."""

from dataclasses import dataclass
from typing import Any

from .grid import ROWS


@dataclass(frozen=True)
class Grid:
    """What distinguishes a format. An element is d * factor * (2 * l + 1) * (level + delta)."""

    name: str
    """Of the grid in points.py."""
    table: Any
    """The grid in formats/grids.py; a level is its byte times `step`, plus `base`."""
    entries: int
    levels: tuple[float, ...]
    elements: int
    """Of an entry: 8 or 4."""
    group: int
    """Entries that share a scale l."""
    top: int
    """The greatest l."""
    factor: float
    size: int
    """Bytes of a super-block."""
    step: float = 1.0
    base: float = 0.0
    signed: bool = False
    """Levels have signs themselves; otherwise an element has one."""
    parity: bool = False
    """The number of signs of eight elements is even."""
    deltas: tuple[float, ...] = (0.0,)
    shared: bool = True
    """A group shares its delta; otherwise each entry has one."""
    fits: tuple[float, ...] = ()
    """Estimates of a scale: quotients of the greatest element and the scale."""
    shifts: tuple[tuple[float, ...], ...] = ((0.0, -1.0, 1.0), (0.0, -1.0, 1.0))
    """Of each round: what is added to the l that stands."""


RUNS, X, W, NORMAL = 0, 8192, 12288, 16384
SIGNS, NUMBERS, SCALES, DELTAS = 18432, 18688, 18944, 19200
"""Where a search leaves its results in scratch, for each entry in order: u32 signs, u32 numbers of the grid, f32 l,
f32 deltas."""
BASE, TRIED, ERRORS, PICKS, BEST, CHOSEN = (19456 + 256 * i for i in range(6))
OTHER_ERRORS, OTHER_PICKS, MERGED = (21504 + 256 * i for i in range(3))
LEVELS, WEIGHTS, WORK, LOWER, UPPER = 22528, 23040, 24576, 32768, 32768 + 4 * ROWS
BIG = 1e30

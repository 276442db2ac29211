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
    delta: float = 0.0
    """Or less than nothing."""
    shared: bool = True
    """A group shares its delta; otherwise each entry has one."""
    fits: tuple[float, ...] = ()
    """Estimates of a scale: quotients of the greatest element and the scale."""
    tries: int = 3
    """Scales that are compared the second time."""


RUNS, X, W, NORMAL = 0, 8192, 12288, 16384
SIGNS, NUMBERS, SCALES, DELTAS = 18432, 18688, 18944, 19200
"""Where a search leaves its results in scratch, for each entry in order: u32 signs, u32 numbers of the grid, f32 l,
f32 deltas."""
BASE, TRIED, ERRORS, PICKS, BEST, CHOSEN = (19456 + 256 * i for i in range(6))
OTHER, MERGED = 2048, 22016
"""OTHER: from ERRORS and PICKS to those for the other delta."""
LEVELS, WEIGHTS, WORK, LOWER, UPPER = 22528, 23040, 24576, 32768, 32768 + 4 * ROWS
BIG = 1e30

"""The scale of a super-block of ternary elements: -s, 0 and s. Exact for ternary weights with a binary16 scale."""

from .lanes import clamped
from .levels import search

_CANDIDATES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)


def level(v):
    return clamped(v, -1.0, 1.0)


find = search(256, level, _CANDIDATES, 3)

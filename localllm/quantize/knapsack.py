"""One option for each item, the costs as small as a budget of sizes allows: the multiple-choice knapsack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_UNITS = 1 << 16
"""Into so many units what is left of the budget is cut, at most: sizes are rounded up to them."""


@dataclass(frozen=True)
class Option:
    """size: at least 0; cost: the smaller, the better."""

    size: int
    cost: float


def knapsack(items: Sequence[Sequence[Option]], budget: int) -> list[int] | None:
    """The number of the option that is taken of each item, whose sizes together are at most `budget`; None where the
    smallest are too large.

    By dynamic programming over what is left above the smallest sizes. It is the least cost where that is at most 65,536
    times the greatest common divisor of the sizes' differences; else sizes are rounded up to larger units, and what is
    left over in the end is given to whatever gains most by it.
    """
    least = [min(option.size for option in options) for options in items]
    spare = budget - sum(least)
    if spare < 0:
        return None
    more = [[option.size - small for option in options] for options, small in zip(items, least, strict=True)]
    divisor = math.gcd(*(size for sizes in more for size in sizes)) or 1
    unit = divisor * max(1, -(-(spare // divisor) // _UNITS))
    taken = _best(items, [[-(-size // unit) for size in sizes] for sizes in more], spare // unit)
    _fill(items, taken, budget)
    return taken


def _best(items: Sequence[Sequence[Option]], sizes: list[list[int]], capacity: int) -> list[int]:
    """sizes: in units, 0 for the smallest option of each item."""
    costs = np.zeros(capacity + 1)
    choices = np.zeros((len(items), capacity + 1), np.uint8)
    for i, options in enumerate(items):
        best = np.full(capacity + 1, np.inf)
        for j, (option, size) in enumerate(zip(options, sizes[i], strict=True)):
            if size > capacity:
                continue
            here = costs[: capacity + 1 - size] + option.cost
            better = here < best[size:]
            best[size:][better] = here[better]
            choices[i, size:][better] = j
        costs = best
    taken, at = [0] * len(items), capacity
    for i in range(len(items) - 1, -1, -1):
        taken[i] = int(choices[i, at])
        at -= sizes[i][taken[i]]
    return taken


def _fill(items: Sequence[Sequence[Option]], taken: list[int], budget: int) -> None:
    """Spend what is left of the budget, the greatest gain first."""
    left = budget - sum(options[j].size for options, j in zip(items, taken, strict=True))
    while True:
        gains = [
            (options[taken[i]].cost - option.cost, i, j)
            for i, options in enumerate(items)
            for j, option in enumerate(options)
            if option.size - options[taken[i]].size <= left and option.cost < options[taken[i]].cost
        ]
        if not gains:
            return
        _, i, j = max(gains)
        left -= items[i][j].size - items[i][taken[i]].size
        taken[i] = j

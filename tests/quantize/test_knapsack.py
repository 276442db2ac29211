"""The multiple-choice knapsack, beside all combinations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from localllm.quantize.knapsack import Option, knapsack


def total(items, taken, what):
    return sum(getattr(options[j], what) for options, j in zip(items, taken, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_the_least_cost_of_all_combinations(seed):
    rng = np.random.default_rng(seed)
    items = [
        [Option(int(size), float(cost)) for size, cost in zip(rng.integers(1, 40, 4), rng.random(4), strict=True)]
        for _ in range(6)
    ]
    low = sum(min(option.size for option in options) for options in items)
    budget = low + int(rng.integers(0, 60))
    taken = knapsack(items, budget)
    assert taken is not None
    assert total(items, taken, "size") <= budget
    combinations = itertools.product(*(range(4) for _ in items))
    best = min(total(items, c, "cost") for c in combinations if total(items, c, "size") <= budget)
    assert total(items, taken, "cost") == pytest.approx(best, abs=1e-12)


def test_too_small_a_budget():
    assert knapsack([[Option(5, 1.0), Option(7, 0.0)], [Option(3, 1.0)]], 7) is None


def test_large_sizes_stay_within_the_budget_and_leave_little():
    rng = np.random.default_rng(0)
    items = [
        [Option(int(rng.integers(1, 8)) * 1_000_003 + 7 * i, float(rng.random())) for i in range(8)] for _ in range(99)
    ]
    budget = 300_000_000
    taken = knapsack(items, budget)
    assert taken is not None
    assert total(items, taken, "size") <= budget
    cheapest = [min(options, key=lambda option: (option.cost, option.size)) for options in items]
    assert total(items, taken, "cost") < 1.2 * sum(option.cost for option in cheapest) + 5


def test_a_budget_for_everything_takes_the_best():
    items = [[Option(1, 3.0), Option(10, 1.0), Option(20, 2.0)], [Option(4, 1.0), Option(5, 0.5)]]
    assert knapsack(items, 1000) == [1, 1]

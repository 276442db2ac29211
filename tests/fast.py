"""The fast part of the tests, `pytest -m fast`: under two minutes on two cores, with tests of every folder.

The rule: a test is fast unless it is marked slow. Of a function with many sets of parameters MAX_TESTS at most are
fast, at even distances; where they begin depends on the function's name, so that functions over one list take different
ones.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest

MAX_TESTS = 2
"""Tests of one function."""

T = TypeVar("T")


def fast_of(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Those of the collected tests that are fast."""
    functions: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if not item.get_closest_marker("slow"):
            functions[item.nodeid.partition("[")[0]].append(item)
    return [item for name, tests in functions.items() for item in spread(tests, zlib.crc32(name.encode()))]


def spread(tests: Sequence[T], start: int) -> Sequence[T]:
    """At most MAX_TESTS of them, at even distances from one another; `start`: any number."""
    step = -(-len(tests) // MAX_TESTS)
    return tests[start % step :: step]

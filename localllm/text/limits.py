"""What one rendering of a chat template may take: time, the size of what it makes, how deep that is nested.

Time is that of the thread, so that a machine with much else to do refuses no template; the clock of the wall, which is
cheaper to read, is looked at first. Sizes are those of Python's objects, all that were made counted, whether they still
live or not: that bounds the memory and needs no look at it. Imports nothing but the standard library.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MAX_TOKENS = 3 << 12
"""Words and signs of a template's source. The longest that are known have some 3,000."""
MAX_TEXT = 1 << 23
"""Characters of any string a template makes, its output included."""
MAX_LONG = 1 << 20
"""Characters of a text that is cut into words or lines: each gets an object of its own."""
MAX_MADE = 3 << 26
"""Bytes of all strings and lists that one rendering makes."""
MAX_ITEMS = 1 << 17
"""Elements of any list or dict a template makes, those of its elements included."""
MAX_DEPTH = 100
"""Lists within lists, and filters that wait for one another: Python hashes and frees such by recursion in C."""
MAX_BITS = 1 << 12
"""Bits of any integer a template makes."""
MAX_WIDTH = 1000
"""Width or precision of a formatted value, and of an indentation."""
MAX_COMPARED = 1 << 27
"""Pairs of characters that a search which has no better way may compare."""
SECONDS = 1.5
"""How long a rendering may take, with the compilation before it: processor time of its thread. What cannot be
interrupted takes a few tenths more."""


class LimitError(Exception):
    """A template went beyond a limit."""


class TimeLimitError(LimitError):
    """It took too long."""


class _Clock:
    def __init__(self) -> None:
        self._wall = time.monotonic() + SECONDS
        self._thread = time.thread_time() + SECONDS

    def check(self) -> None:
        if time.monotonic() > self._wall and time.thread_time() > self._thread:
            raise TimeLimitError(f"it takes longer than {SECONDS:g} seconds")


class _Budget:
    """What one rendering may still use."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.made = 0


_shared: ContextVar[_Clock | None] = ContextVar("_shared", default=None)
_budget: ContextVar[_Budget] = ContextVar("_budget")


@contextmanager
def one_clock() -> Iterator[None]:
    """All renderings within, of this thread, share the time of one."""
    token = _shared.set(_shared.get() or _Clock())
    try:
        yield
    finally:
        _shared.reset(token)


def start_rendering() -> None:
    """Begin a rendering in this thread, with a fresh budget."""
    _budget.set(_Budget(_shared.get() or _Clock()))


def check_clock() -> None:
    """TimeLimitError when the time of this rendering is over."""
    _budget.get().clock.check()


def check_length(n_characters: int, most: int = MAX_TEXT) -> None:
    """LimitError for a string that is, or would be, too long."""
    if n_characters > most:
        raise LimitError(f"it makes a text of more than {most} characters")


def check_bits(n_bits: int) -> None:
    """LimitError for an integer that is, or would be, too large."""
    if n_bits > MAX_BITS:
        raise LimitError(f"it makes a number of more than {MAX_BITS} bits")


def check_count(n_items: int) -> None:
    """LimitError for a list that is, or would be, too long."""
    if n_items > MAX_ITEMS:
        raise LimitError(f"it makes a list of more than {MAX_ITEMS} elements")


def charge(n_bytes: int) -> None:
    """Counts what was made. LimitError where it is too much in all."""
    budget = _budget.get()
    budget.made += n_bytes
    if budget.made > MAX_MADE:
        raise LimitError(f"it makes texts and lists of more than {MAX_MADE >> 20} MB in all")


def check_made(value: Any) -> None:
    """LimitError for what an operation made, if it is too large."""
    if isinstance(value, str):
        check_length(len(value))
        charge(sys.getsizeof(value))
    elif isinstance(value, int):
        check_bits(value.bit_length())
    elif isinstance(value, list | tuple | dict):
        check_items(value)


_ITEM = 64
"""Bytes of an element that was made with its list, at most, but for long texts."""


def check_items(value: Any) -> None:
    """LimitError for a list, tuple or dict that holds too much, or is nested too deep.

    A list may hold another twice: forty lines of template make one that takes years to print or to compare.
    """
    n_items = n_text = 0
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, str):
                n_text += len(item)
            elif isinstance(item, list | tuple):
                inner += item
            elif isinstance(item, Mapping):
                inner += item.values()
            if len(inner) > MAX_ITEMS:
                break
        n_items += len(level)
        if n_items + len(inner) > MAX_ITEMS or n_text > MAX_TEXT:
            raise LimitError(f"it makes a list of more than {MAX_ITEMS} elements or {MAX_TEXT} characters")
        if not inner:
            charge(_ITEM * n_items)
            return
        level = inner
    raise LimitError(f"it makes a list that is nested deeper than {MAX_DEPTH}")

"""Locks that a forked process has anew: the threads that held them are not in it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from localllm.errors import LocalllmError

P = ParamSpec("P")
R = TypeVar("R")


class Forked(Protocol):
    """What has something to put in order in a process that was forked."""

    def forked(self) -> None: ...


_ALL: weakref.WeakSet[Forked] = weakref.WeakSet()


def after_fork(thing: Forked) -> None:
    """From now on its `forked` is called in each child process."""
    _ALL.add(thing)


def _in_child() -> None:
    for thing in list(_ALL):
        thing.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class lazy(cached_property[R]):
    """A property that is computed once. functools' own has a lock for all instances before Python 3.12: a child that
    was forked while another thread had it would wait for ever."""

    def __init__(self, function: Callable[[Any], R]) -> None:
        super().__init__(function)
        after_fork(self)

    def forked(self) -> None:
        if hasattr(self, "lock"):
            self.lock = threading.RLock()


class Turn:
    """A lock. `holder` is the number of the thread that has it, or None."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.holder: int | None = None
        self.is_lost = False
        """What the lock guards was in use when this process was forked: nobody will finish that."""
        after_fork(self)

    def take(self, waits: bool = True) -> bool:
        """Whether it is ours now; where another thread has it and it does not wait, False."""
        taken = self._lock.acquire(waits)
        if taken:
            self.holder = threading.get_ident()
        return taken

    def give(self) -> None:
        self.holder = None
        self._lock.release()

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *error: object) -> None:
        self.give()

    def forked(self) -> None:
        self.is_lost = self.is_lost or self._lock.locked()
        self._lock, self.holder = threading.Lock(), None


class Guarded(Protocol):
    """What one thread at a time may use."""

    turn: Turn


G = TypeVar("G", bound=Guarded)


def alone(method: Callable[Concatenate[G, P], R]) -> Callable[Concatenate[G, P], R]:
    """A method of a context that has its turn while it runs. Raises LocalllmError where another thread has it."""

    @wraps(method)
    def call(context: G, /, *args: P.args, **given: P.kwargs) -> R:
        turn = context.turn
        if turn.is_lost:
            raise LocalllmError("this context was in use when the process was forked: make another one")
        if not turn.take(waits=False):
            raise LocalllmError("this context is in use by another thread: one at a time may use it")
        try:
            return method(context, *args, **given)
        finally:
            turn.give()

    return call

"""Signals that ask a program to end become exceptions, at moments at which that harms nothing.

Python runs handlers between any two steps of the main thread. What must not be cut in two waits for its end: an import
(half a module may not be imported again), and each function that is marked by `whole`.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from localllm.errors import HUNG_UP, INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

TERMINATING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGBREAK", "SIGHUP") if hasattr(signal, name))
"""To be treated as SIGTERM. Windows sends nothing but Ctrl-C and Ctrl-Break (SIGBREAK): the latter is how programs that
watch over others ask them to end. SIGHUP: the terminal is gone."""

_STATUS = {"SIGINT": INTERRUPTED, "SIGHUP": HUNG_UP}
_PATIENCE = 5.0
"""Seconds that an import or a `whole` function may put a signal off, and that cleaning up may take before a further
signal ends the process as it is."""
_PAUSE = 0.005
"""Seconds between two looks whether it is over."""
_IMPORTS = "<frozen importlib._bootstrap>"
"""The file of the functions that import a module."""
_LOOPS = os.path.join("asyncio", "runners.py")
"""The end of the name of the file that begins and ends event loops. While one runs, it lets signals through."""
_WHOLE: set[CodeType] = set()

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Terminated(SystemExit):
    """SIGTERM or SIGHUP arrived. A SystemExit, since an event loop of asyncio lets those out."""

    def __init__(self, number: int) -> None:
        super().__init__(status_of(number))
        self.number = number
        self.status = status_of(number)


def whole(function: _Function) -> _Function:
    """Marks a function, or a generator, that runs to its end (or next yield) when a signal comes. It must be short."""
    _WHOLE.add(function.__code__)
    return function


def status_of(number: int) -> int:
    """The exit status after a signal, as shells report it."""
    return _STATUS.get(signal.Signals(number).name, TERMINATED)


def heard() -> list[signal.Signals]:
    """The signals that end this process. One that it was started to ignore is left so: by nohup, or by a shell for what
    runs in the background."""
    ignored = (signal.SIGINT, getattr(signal, "SIGHUP", None))
    numbers = [signal.SIGINT, *TERMINATING]
    return [n for n in numbers if not (n in ignored and signal.getsignal(n) is signal.SIG_IGN)]


@contextmanager
def as_exceptions() -> Iterator[None]:
    """While the block runs, in the main thread, Ctrl-C is a KeyboardInterrupt, and what else asks the process to end is
    Terminated, once: what follows it is not heard while things are put in order."""
    if not _is_main_thread():
        yield
        return
    state = _Signals()
    state.install()
    try:
        yield
    finally:
        state.restore()


def _is_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


class _Signals:
    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._hook: Callable[[UnraisableHookArgs], Any] = sys.unraisablehook
        self._put_off: dict[int, float] = {}
        """Signals that wait, and since when."""
        self._ended: float | None = None
        """When Terminated was raised."""

    def install(self) -> None:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._before = {number: signal.signal(number, self._handle) for number in heard()}

    @whole
    def restore(self) -> None:
        sys.unraisablehook = self._hook
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._ended is not None:
            if now - self._ended > _PATIENCE:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        if now - self._put_off.setdefault(number, now) < _PATIENCE and _is_busy(frame) and _again(number):
            return
        del self._put_off[number]
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        self._ended = now
        raise Terminated(number)

    def _unraisable(self, args: UnraisableHookArgs) -> None:
        """It came where no exception can: in a destructor, or what a weak reference calls. The signal comes again."""
        error = args.exc_value
        number = error.number if isinstance(error, Terminated) else signal.SIGINT
        if isinstance(error, KeyboardInterrupt | Terminated):
            self._ended = None
            _again(number)
        elif not (isinstance(error, AttributeError) and "_ssock" in str(error)):  # a loop that could not be begun
            self._hook(args)


def _is_busy(frame: FrameType | None) -> bool:
    while frame:
        code = frame.f_code
        if code in _WHOLE or code.co_filename == _IMPORTS or code.co_filename.endswith(_LOOPS):
            return True
        if code.co_name == "run_until_complete":
            return False
        frame = frame.f_back
    return False


def _again(number: int) -> bool:
    """Send this process a signal once more, soon; False where there is no thread for it."""

    def send() -> None:
        time.sleep(_PAUSE)
        signal.raise_signal(number)

    try:
        _thread.start_new_thread(send, ())
    except RuntimeError:
        return False
    return True

"""llguidance follows rules and references by recursion: a chain of some thousands overflows a thread's usual 8 MB of
stack, which ends the process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_BYTES = (255 if sys.platform == "win32" else 512) << 20
"""Four times what the longest chain takes that fits into a source (address space: memory is taken as it is used). On
Windows less than 256 MB can be had (THREAD_MAX_STACKSIZE of CPython's thread_nt.h)."""
_LOCK = threading.Lock()

T = TypeVar("T")


def on_large_stack(function: Callable[[], T]) -> T:
    """What a function gives, or raises, in a thread of its own with a large stack."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, name="localllm-grammar", daemon=True)
    with _LOCK:
        usual = threading.stack_size(_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(usual)
    return result.result()

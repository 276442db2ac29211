"""A lock between processes: of two that download the same model, one does, and the other waits for its result."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from localllm.errors import StoreError

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
POLL = 0.1
"""Seconds between two tries; a blocking wait could not be stopped by Ctrl-C everywhere."""

if sys.platform == "win32":
    import msvcrt

    def _take(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock file `path`; calls `waiting` once when another process has it. The system frees it if we die.

    The file stays: to remove it would let a third process lock a new one while the second holds the old.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        announced = False
        while True:
            try:
                _take(fd)
                break
            except OSError as error:
                if error.errno not in _BUSY:
                    what = f"{path}: cannot be locked: {error.strerror}"
                    raise StoreError(f"{what}; set LOCALLLM_HOME to a folder of a local disk") from None
                if not announced:
                    waiting()
                    announced = True
                time.sleep(POLL)
        yield
    finally:
        os.close(fd)

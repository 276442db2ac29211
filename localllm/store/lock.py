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

FIRST_BYTE, FAR_BYTE = 0, (1 << 31) - 2
"""On Windows a lock is one of a byte, which nobody else can read then. Of a lock file it is the first, as filelock has
it; of a file with content the last one that msvcrt.locking reaches. Elsewhere the whole file is locked, for those who
ask."""

if sys.platform == "win32":
    import msvcrt

    def _take(fd: int, byte: int) -> None:
        os.lseek(fd, byte, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _give(fd: int, byte: int) -> None:
        """The system frees what a closed file has locked, but not at once (LockFileEx in Microsoft's reference)."""
        os.lseek(fd, byte, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(fd: int, byte: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _give(fd: int, byte: int) -> None:
        """Closing does it."""


@contextmanager
def locked(path: Path, waiting: Callable[[], None], byte: int = FIRST_BYTE) -> Iterator[None]:
    """Holds the lock file `path`; calls `waiting` once when another process has it. The system frees it if we die.
    byte: FAR_BYTE for a file that has content.

    We leave the file: to remove it would let a third process lock a new one while the second holds the old. Others may
    remove theirs (filelock): a lock of a file that is gone is worth nothing, and is taken anew.
    """
    announced = False
    while (descriptor := _try(path, byte)) is None:
        if not announced:
            waiting()
            announced = True
        time.sleep(POLL)
    try:
        yield
    finally:
        _free(descriptor, byte)


@contextmanager
def is_free(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock file `path`; if so, we do while the block runs."""
    descriptor = _try(path, FIRST_BYTE)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _free(descriptor, FIRST_BYTE)


def _free(descriptor: int, byte: int) -> None:
    try:
        _give(descriptor, byte)
    finally:
        os.close(descriptor)


def _try(path: Path, byte: int) -> int | None:
    """A descriptor that holds the lock; None: another process does."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _take(descriptor, byte)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(descriptor)
            if error.errno in _BUSY:
                return None
            what = f"{path}: cannot be locked: {error.strerror}"
            raise StoreError(f"{what}; set LOCALLLM_HOME and HF_HOME to folders of a local disk") from None
        os.close(descriptor)

"""How a finished file gets to its place, and stays there after a power cut, on each system."""

from __future__ import annotations

import os
import sys
import time

_PATIENCE = 2.0
"""Seconds that other programs have to let go of a file."""
_PAUSE = 0.02


def sync(descriptor: int) -> None:
    """Makes what was written to a file durable. Windows wants a descriptor that can be written. What macOS's fsync has
    done may still be in the drive's own memory, which F_FULLFSYNC empties (fsync(2) of macOS)."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:  # a disk that does not know it, such as one of the network
            pass
    os.fsync(descriptor)


def sync_file(path: str | os.PathLike[str]) -> None:
    """The same for a file that is closed."""
    with open(path, "r+b") as file:
        sync(file.fileno())


def replace(temporary: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Moves a finished file to its place in one step, over what was there.

    Windows refuses that while a program has the old file open: those that only look into it are waited for. Raises
    PermissionError where one keeps it, as one that has it mapped does; OSError.
    """
    end = time.monotonic() + (_PATIENCE if sys.platform == "win32" else 0.0)
    while True:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(_PAUSE)

"""A file mapped into memory, read-only, and whether it is still the one that was opened."""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref

from localllm.errors import FileError
from localllm.gate import files
from localllm.gguf.values import Bytes


class MappedFile:
    """A regular file. The mapping lives until `close`, and then as long as a view of it does."""

    def __init__(self, path: str) -> None:
        """Raises FileError: it cannot be opened, or is no regular file."""
        self.path = path
        self._fd, self.size = _open_regular(path)
        try:
            self._mtime = os.fstat(self._fd).st_mtime_ns
            # Nothing cannot be mapped.
            self.data: Bytes = mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ) if self.size else b""
        except OSError as error:
            os.close(self._fd)
            raise FileError(f"{path}: cannot be mapped into memory: {error.strerror}") from None
        self._closed = False
        self._watched = -1
        self._unwatch: weakref.finalize[[int], MappedFile] | None = None

    def watch(self) -> None:
        """From now on, a page that cannot be read (of a file that was cut, of a disk that fails) is zeros, and
        `check_unchanged` says so, where the system would end the process (Linux; see localllm.kernels.faults)."""
        # Who only reads a header needs neither NumPy nor LLVM.
        import numpy as np

        from localllm.kernels import faults

        if self._watched < 0 and self.size:
            self._watched = faults.watch(np.frombuffer(self.data, np.uint8).ctypes.data, self.size)
            self._unwatch = weakref.finalize(self, faults.unwatch, self._watched)

    def view(self) -> memoryview:
        """All of it. Raises FileError once it is closed."""
        self._require_open()
        return memoryview(self.data)

    def check_unchanged(self) -> None:
        """Raises FileError if the file was written to since it was opened, or a page of it could not be read."""
        self._require_open()
        try:
            now = os.fstat(self._fd)
        except OSError as error:
            self._require_open()  # another thread may have closed it since
            raise FileError(f"{self.path}: cannot be looked at any more: {error.strerror}") from None
        self._require_open()
        files.unchanged(self.path, (self.size, self._mtime), (now.st_size, now.st_mtime_ns))
        if self._watched >= 0:
            from localllm.kernels import faults

            if faults.is_hit(self._watched):
                raise FileError(f"{self.path}: a part of it could not be read: the disk fails, or it was cut")

    @property
    def identity(self) -> tuple[int, ...]:
        """Of the open file: device, inode, size, times of the last write and change in nanoseconds. As long as it is
        the same, so is the content. Raises FileError."""
        self.check_unchanged()
        now = os.fstat(self._fd)
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns

    def duplicate(self) -> int:
        """A descriptor of the same open file, which the caller closes; its offset is shared. Raises FileError."""
        self.check_unchanged()
        return os.dup(self._fd)

    def close(self) -> None:
        """May be called twice."""
        if self._closed:
            return
        self._closed = True
        os.close(self._fd)
        if self._unwatch:
            self._unwatch()  # once: the number is soon another file's
            self._watched = -1
        if isinstance(self.data, mmap.mmap):
            with contextlib.suppress(BufferError):  # a view is still out: the mapping goes with it
                self.data.close()

    def _require_open(self) -> None:
        if self._closed:
            raise FileError(f"{self.path}: is closed")


def _open_regular(path: str) -> tuple[int, int]:
    """(descriptor, size). Looks at the kind before opening, which may block on a pipe, and after, as it may change."""
    try:
        files.regular(path, os.stat(path).st_mode)
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FileError(f"{path}: cannot be opened: {reason}") from None
    status = os.fstat(fd)
    try:
        files.regular(path, status.st_mode)
    except FileError:
        os.close(fd)
        raise
    return fd, status.st_size

"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

from localllm.errors import FileError
from localllm.runtime.files import replace, sync_file
from localllm.signals import whole

_MARK = ".part"


def check_writable(path: str | os.PathLike[str], sources: Sequence[str] = ()) -> None:
    """Raises FileError for what could only be refused after long work: a path that no file can be written at, or that
    is one of `sources`, which are read."""
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise FileError(f"{path}: is a directory; name the file to write")
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileError(f"{path}: cannot be written: is a device or a pipe; name a file")
    if not os.path.isdir(folder):
        raise FileError(f"{path}: cannot be written: {folder} is no directory")
    if any(os.path.exists(source) and os.path.exists(path) and os.path.samefile(path, source) for source in sources):
        raise FileError(f"{path}: is a file that is read; write to another one")


def check_space(path: str | os.PathLike[str], n_bytes: int) -> None:
    """Raises FileError where the disk has no place for a file."""
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from None
    if free < n_bytes:
        raise FileError(f"{path}: needs {n_bytes / 1e6:,.0f} MB, {folder} has {free / 1e6:,.0f} MB free")


@contextlib.contextmanager
@whole
def written_whole(path: str | os.PathLike[str]) -> Iterator[str]:
    """The name of a temporary file beside `path`, which takes its place when the block ends; nothing is left of it
    when an exception comes out of the block. What a process left that was killed goes when the same file is written
    again. Raises FileError for what the system refuses."""
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    prefix = f".{os.path.basename(path)}."
    try:
        _remove_left_over(folder, prefix)
        fd, temporary = tempfile.mkstemp(prefix=prefix, suffix=_MARK, dir=folder)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from None
    held = _hold(fd)
    try:
        yield temporary
        sync_file(temporary)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        replace(temporary, path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if held:
            os.close(fd)


def _hold(fd: int) -> bool:
    """Lock a temporary file that is ours, for as long as it is open: who cannot lock it knows that we live. False where
    a system has no such locks; the file is closed then."""
    if sys.platform == "win32":  # where a file that is open can be neither replaced nor removed
        os.close(fd)
        return False
    import fcntl

    with contextlib.suppress(OSError):  # a disk of the network may have none: then nothing is removed there either
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _remove_left_over(folder: str, prefix: str) -> None:
    """Temporary files of this name that no process holds. Raises OSError where the folder cannot be read."""
    if sys.platform == "win32":
        return
    import fcntl

    for name in os.listdir(folder):
        if name.startswith(prefix) and name.endswith(_MARK):
            with contextlib.suppress(OSError):
                fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(os.path.join(folder, name))
                finally:
                    os.close(fd)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """A text as UTF-8, by `written_whole`."""
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)

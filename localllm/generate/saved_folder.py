"""A folder of saved beginnings, shared by processes and models: what is in it, what goes when it is full.

Each file stands for itself: it is written whole, found by its name, and may be removed at any time by any process.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localllm.generate import saved_file
from localllm.generate.saved_file import Bytes, DamagedError, Header

SUFFIX = ".prompt"
MAX_FILES = 1 << 11
"""Who starts reads what stands at the beginning of each."""
LEFT_FREE = 256 << 20
"""Bytes of the disk that are left to others."""
_STALE = 600.0
"""Seconds after which an unfinished file is another process's no more."""
_KEY_LETTERS = 24


def default_folder() -> Path:
    """In the user's cache folder, or LOCALLLM_CACHE."""
    chosen = os.environ.get("LOCALLLM_CACHE")
    if chosen:
        return Path(chosen) / "prompts"
    from platformdirs import user_cache_path

    return user_cache_path("localllm", appauthor=False) / "prompts"


def make_private(folder: Path) -> None:
    """Make the folder if need be. Raises OSError unless it is the user's, and nobody else may write there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o022):
        raise PermissionError(0, "others may write there (chmod go-w), or it is not yours")


@dataclass
class SavedFolder:
    """Files of one key in a folder that has `limit` bytes for all keys."""

    path: Path
    key: str
    limit: int
    total: int = 0
    """Bytes of all files, of any key, when they were last counted."""

    def names(self) -> set[str]:
        """Of the files of this key. Raises OSError."""
        prefix = f"{self.key[:_KEY_LETTERS]}-"
        found = (name for name in os.listdir(self.path) if name.startswith(prefix) and name.endswith(SUFFIX))
        return {name[len(prefix) : -len(SUFFIX)] for name in found}

    def changed(self) -> int:
        """A number that is another one after files have come or gone. Raises OSError."""
        return self.path.stat().st_mtime_ns

    def header(self, name: str) -> tuple[Header, NDArray[np.int32]] | None:
        """None for a file that is no good, which is removed."""
        try:
            header, ids = saved_file.read_header(self._file(name))
            if header.key != self.key or header.name != name:
                raise DamagedError(f"holds {header.name} of {header.key}")
            return header, ids
        except (OSError, DamagedError) as error:
            self._refuse(name, error)
            return None

    def read(self, name: str, sizes: list[int]) -> list[Bytes] | None:
        """The parts of a file, of these sizes; None for one that is gone, or no good and therefore removed."""
        try:
            return saved_file.read(self._file(name), name, sizes)[1]
        except MemoryError:
            return None
        except (OSError, DamagedError) as error:
            self._refuse(name, error)
            return None

    def write(self, header: Header, ids: NDArray[np.int32], parts: list[Bytes], time_ns: int) -> bool:
        """False for a file that is too large for the folder. Raises OSError, also where the disk is nearly full."""
        n_bytes = sum(part.nbytes for part in parts) + ids.nbytes + saved_file.MAX_HEADER
        if n_bytes > self.limit:
            return False
        make_private(self.path)  # it may have been removed meanwhile
        if not self.make_room(n_bytes):
            raise OSError(errno.ENOSPC, "the disk is nearly full")
        saved_file.write(self._file(header.name), header, ids, parts, time_ns)
        self.total += n_bytes
        return True

    def touch(self, name: str, time_ns: int) -> bool:
        """Note when a file was used; False where it is gone."""
        try:
            os.utime(self._file(name), ns=(time_ns, time_ns))
        except OSError:
            return False
        return True

    def remove(self, name: str) -> None:
        with suppress(OSError):
            self._file(name).unlink(missing_ok=True)

    def _refuse(self, name: str, error: Exception) -> None:
        """Damage is removed, and links, which nobody puts there to help; not what cannot be read just now."""
        if isinstance(error, DamagedError) or (isinstance(error, OSError) and error.errno == errno.ELOOP):
            self.remove(name)

    def make_room(self, n_bytes: int) -> bool:
        """Remove what was not used for longest, of any key, until n_bytes more fit; and what crashes have left. False
        where the disk has no room for so much. Raises OSError."""
        files, total = [], 0
        with os.scandir(self.path) as entries:
            for entry in entries:
                if not entry.name.endswith((SUFFIX, ".part")):
                    continue
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(SUFFIX):
                        files.append((status.st_mtime_ns, status.st_size, entry.path))
                        total += status.st_size
                    elif time.time() - status.st_mtime > _STALE:
                        os.unlink(entry.path)
        files.sort()
        limit = min(self.limit, total + shutil.disk_usage(self.path).free - LEFT_FREE)
        for i, (_, size, path) in enumerate(files):
            if total + n_bytes <= limit and len(files) - i < MAX_FILES:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= size
        self.total = total
        return total + n_bytes <= limit

    def _file(self, name: str) -> Path:
        return self.path / f"{self.key[:_KEY_LETTERS]}-{name}{SUFFIX}"

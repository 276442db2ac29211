"""One file to its place: by one process at a time, whole and checked or not at all, resumed by the next try."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localllm.errors import StoreError
from localllm.store import records
from localllm.store.durable import put
from localllm.store.entry import Progress
from localllm.store.lock import locked
from localllm.store.transfer import CHUNK, Remote, Transfer, hasher, is_full
from localllm.terminal.figures import size

RESUMES = "what came is kept: the same command goes on from there"


@dataclass(frozen=True)
class Download:
    """`remote` to `place`, by way of `part` on the same disk; `lock`: what the process that does it holds. `record` and
    `etag` are written down of it (`records.pulled`)."""

    remote: Remote
    place: Path
    part: Path
    lock: Path
    record: str
    etag: str

    def run(self, is_here: Callable[[], bool], report: Progress) -> bool:
        """Fetches the file unless it `is_here`, which is asked once nobody else is at it; whether it was fetched.

        Raises StoreError, which says whether the next try goes on where this one stopped."""
        try:
            for path in (self.place, self.lock):
                path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.lock, lambda: report(f"{self.remote.name}: another process fetches it", 0, 0)):
                return not is_here() and self._fetch(report)
        except OSError as error:
            raise StoreError(f"{error.filename or self.place}: {error.strerror or error}") from None

    def _fetch(self, report: Progress) -> bool:
        try:
            Transfer(self.remote, self.part, report).run()
            records.pulled(self.place, self.record, self.etag)
            put(self.part, self.place)
            return True
        except StoreError as error:
            raise StoreError(f"{error}{self._kept()}") from None
        except OSError as error:
            raise self._of_disk(error) from None
        except BaseException:  # Ctrl-C, SIGTERM
            kept = self._kept()
            if kept:
                report(f"{self.remote.name}: stopped{kept}", 0, 0)
            raise

    def _of_disk(self, error: OSError) -> StoreError:
        if is_full(error):
            have = self.part.stat().st_size if self.part.exists() else 0
            return StoreError(
                f"{self.place.parent}: the disk is full, {size(self.remote.size - have)} of "
                f"{self.remote.name} are missing; make room{self._kept()}"
            )
        return StoreError(f"{error.filename or self.part}: {error.strerror or error}{self._kept()}")

    def _kept(self) -> str:
        """What to say of a broken download; an empty one is removed."""
        try:
            if self.part.stat().st_size:
                return f"; {RESUMES}"
            self.part.unlink()
        except OSError:
            pass
        return ""


def is_whole(path: Path, size: int, etag: str, name: str, report: Progress) -> bool:
    """Whether a file is the one that its size and hash (`hasher`) say, byte for byte."""
    digest, done = hasher(etag, size), 0
    if path.stat().st_size != size:
        return False
    if digest is None:
        return True
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(f"checking {name}", done, size)
    return bool(digest.hexdigest() == etag)


def need_space(folder: Path, n_bytes: int) -> None:
    """Raises StoreError where the disk of a folder has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise StoreError(f"{folder}: {size(n_bytes)} are needed, {size(free)} are free; make room")

"""Fetches a model of the catalog into the store: whole and checked by its SHA-256, or not at all.

All work is done in a hidden folder beside the model's place, so that putting it there is one rename. The next fetch
resumes what an interrupted download left, and removes what an interrupted pip left.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path

from localllm.errors import StoreError
from localllm.store import pip_source, url_source
from localllm.store.entry import Entry, PipSource, Progress, UrlSource
from localllm.store.lock import locked
from localllm.terminal.progress import Progress as Bar

CHUNK = 1 << 20


def fetch_model(entry: Entry, progress: Progress | None = None) -> Path:
    """Puts a model into the store and returns its path; at once when it is there already.

    Sources are tried in the catalog's order. Raises StoreError, which gives each source's reason and says what to do.
    """
    with nullcontext(progress) if progress else Bar(in_bytes=True) as report:
        try:
            folder = entry.path.parent
            folder.mkdir(parents=True, exist_ok=True)
            with locked(
                folder / f".{entry.file}.lock", lambda: report(f"{entry.name}: another process fetches it", 0, 0)
            ):
                return entry.path if entry.is_here else _fetch(entry, folder / f".{entry.file}.fetch", report)
        except OSError as error:
            raise StoreError(
                f"{error.filename or entry.path}: {error.strerror or error}; {_what_to_do(entry)}"
            ) from None


def is_whole(entry: Entry, progress: Progress | None = None) -> bool:
    """Whether the file in the store is the catalog's, byte for byte."""
    if not entry.is_here:
        return False
    with nullcontext(progress) if progress else Bar(in_bytes=True) as report:
        return _sha256(entry.path, entry, report) == entry.sha256


def _fetch(entry: Entry, work: Path, report: Progress) -> Path:
    work.mkdir(exist_ok=True)
    problems = []
    for source in entry.sources:
        try:
            part = _from_source(source, entry, work, report)
            _check(part, entry, report)
            _put(part, entry.path)
        except StoreError as error:
            problems.append(str(error))
            continue
        shutil.rmtree(work, ignore_errors=True)
        return entry.path
    with suppress(OSError):  # not empty: something is there to go on from
        work.rmdir()
    raise StoreError(f"{entry.name} could not be fetched: {'; '.join(problems)}. {_what_to_do(entry)}")


def _from_source(source: PipSource | UrlSource, entry: Entry, work: Path, report: Progress) -> Path:
    """The file that a source delivered, not checked yet."""
    if isinstance(source, UrlSource):
        part = work / "part"
        have = part.stat().st_size if part.exists() else 0
        _need_space(work, entry.size - have)
        url_source.download(source.url, entry.size, part, f"fetching {entry.name}", report)
        return part
    _need_space(work, 2 * source.size + entry.size)  # pip copies the wheel from its temporary folder
    return pip_source.download(source, entry, work, report)


def _need_space(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise StoreError(f"{folder.parent}: {n_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")


def _check(part: Path, entry: Entry, report: Progress) -> None:
    """Raises StoreError, and removes the file, unless it is the catalog's."""
    size = part.stat().st_size
    digest = _sha256(part, entry, report) if size == entry.size else ""
    if digest == entry.sha256:
        return
    part.unlink()
    found = f"SHA-256 {digest}, expected {entry.sha256}" if digest else f"{size} bytes, expected {entry.size}"
    raise StoreError(f"what came is not the model: {found}")


def _sha256(path: Path, entry: Entry, report: Progress) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(f"checking {entry.name}", done, entry.size)
    return digest.hexdigest()


def _put(part: Path, path: Path) -> None:
    """Moves a checked file to its place so that a power cut leaves the whole file or none."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    if hasattr(os, "O_DIRECTORY"):  # Windows has no descriptor of a folder
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _what_to_do(entry: Entry) -> str:
    link = next((source.url for source in entry.sources if isinstance(source, UrlSource)), entry.homepage)
    place = f"fetch {link} by other means and put it at {entry.path}"
    return f"Try again, or {place}, or name any other GGUF file by its path"

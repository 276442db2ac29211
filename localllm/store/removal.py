"""Removes what we downloaded, and nothing else: files of the store, blobs and links of the Hugging Face cache."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localllm.errors import StoreError
from localllm.store import records
from localllm.store.found import find, found_models
from localllm.store.hf_cache import read_reference
from localllm.store.lock import locked
from localllm.store.names import parse
from localllm.store.origins import ORIGINS
from localllm.store.resolve import resolve
from localllm.store.stored import StoredModel


@dataclass(frozen=True)
class Removal:
    """What goes with a model. `files`: links first, then what they lead to. `freed`: bytes that are free afterwards.
    `kept`: why something stays, or ""."""

    model: StoredModel
    files: tuple[Path, ...]
    freed: int
    kept: str = ""


def plan(name: str) -> Removal:
    """What `remove` would do about a MODEL; nothing is changed. Raises StoreError for one that is not here, or that we
    did not download: it says whose it is."""
    try:
        path = resolve(name)
    except StoreError:
        if parse(name).kind in ("catalog", "hub", "url"):
            raise StoreError(f"{name}: is not here; `localllm list` shows what is") from None
        raise
    real = os.path.realpath(path)
    models = [model for model in found_models() if real in map(os.path.realpath, model.parts)]
    if not models:
        raise StoreError(f"{path}: is no model that we downloaded: delete the file itself if you want it gone")
    same = [model for model in models if str(model.path) == path] or models
    return _plan(find(name, same) or same[0])


def remove(removal: Removal) -> None:
    """Removes a model's files. Raises StoreError, with the reason, for one that cannot be removed; what was removed
    before it stays so."""
    try:
        _remove(removal, _repository(removal.model))
    except OSError as error:
        where = error.filename or removal.model.path
        raise StoreError(f"{removal.model.name}: {where}: {_reason(error)}") from None


def _remove(removal: Removal, repository: Path | None) -> None:
    with _alone(repository):
        for path in removal.files:
            is_link = path.is_symlink()
            path.unlink(missing_ok=True)
            if not is_link:
                records.forget(path)
        if repository is not None:
            _tidy(repository, removal.model.parts)


def _reason(error: OSError) -> str:
    """Windows does not let go of a file that a program has mapped; elsewhere that program keeps it until it ends."""
    if sys.platform == "win32" and isinstance(error, PermissionError):
        return "is in use: end the program that has the model loaded, then try again"
    return error.strerror or str(error)


def _plan(model: StoredModel) -> Removal:
    if not all(map(records.owns, model.parts)):
        title, there = ORIGINS[model.origin].title, ""
        whose = f"is a link to {os.path.realpath(model.path)}" if model.path.is_symlink() else "is not ours"
        if model.origin != "localllm":
            whose, there = f"{title} downloaded it", "; remove it there"
        raise StoreError(f"{model.name}: {whose}; we do not touch {model.path}{there}")
    repository = _repository(model)
    links = [path for path in model.parts if path.is_symlink()]
    if repository is None or not links:
        return Removal(model, model.parts, model.size)
    blobs = list(dict.fromkeys(Path(os.path.realpath(path)) for path in links))
    shared = set(_targets(repository / "snapshots", set(links)))
    gone = [blob for blob in blobs if str(blob) not in shared]
    kept = "another revision of the repository has the same file, which stays" if len(gone) < len(blobs) else ""
    freed = sum(blob.stat().st_size for blob in gone)
    return Removal(model, (*model.parts, *gone), freed, kept)


def _repository(model: StoredModel) -> Path | None:
    """The folder models--ORG--REPO of a model in the Hugging Face cache; None for others."""
    if model.origin != "huggingface":
        return None
    return next(folder for folder in model.path.parents if folder.name == "snapshots").parent


def _targets(folder: Path, without: set[Path]) -> Iterator[str]:
    """What the links below a folder lead to, but for some links."""
    for where, _, names in os.walk(folder):
        for path in (Path(where, name) for name in names):
            if path.is_symlink() and path not in without:
                yield os.path.realpath(path)


@contextlib.contextmanager
def _alone(repository: Path | None) -> Iterator[None]:
    """No download changes the repository meanwhile."""
    if repository is None:
        yield
        return
    lock = repository.parent / ".locks" / repository.name / "snapshots.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock, lambda: None):
        yield


def _tidy(repository: Path, parts: tuple[Path, ...]) -> None:
    """Removes the folders of a model's files that are empty now, references to a commit of which nothing is left, and
    the repository once nothing else is in it: other programs call one broken that lacks what a reference names."""
    snapshots = repository / "snapshots"
    for folder in [folder for part in parts for folder in part.parents]:
        if folder.is_relative_to(snapshots) and folder != snapshots:
            _remove_if_empty(folder)
    commits = {part.relative_to(snapshots).parts[0] for part in parts}
    gone = {commit for commit in commits if not (snapshots / commit).exists()}
    for where, _, names in os.walk(repository / "refs", topdown=False):
        for path in (Path(where, name) for name in names):
            if read_reference(path) in gone:
                path.unlink(missing_ok=True)
        _remove_if_empty(Path(where))
    _remove_if_empty(repository / "blobs")
    if os.listdir(repository) == [snapshots.name]:
        _remove_if_empty(snapshots)
        _remove_if_empty(repository)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()

"""MODEL to a file: the one way of every command."""

from __future__ import annotations

import difflib
import os
import re

from localllm.errors import FileError, StoreError
from localllm.store import catalog, records
from localllm.store.catalog import files_here, find_entry
from localllm.store.entry import Entry, Progress
from localllm.store.names import ModelName, is_path, parse

_NAME_FORM = re.compile(r"[A-Za-z][\w.]*-[\w.:-]*\d[\w.:-]*")
"""As models are named: llama-3.2-1b. A prompt of one word rarely is."""


def resolve(name_or_path: str | None = None, fetch: bool = False, progress: Progress | None = None) -> str:
    """The path of a model's file (the first part of a split one); None is the catalog's default model.

    `fetch`: the model is about to be used: it is downloaded where it is not here, and the time is written down.
    `progress` is called with how far a download is; without it, a bar is drawn on standard error. Raises FileError (no
    such path) or StoreError (unknown, not here, not to be had).
    """
    name = ModelName("catalog", catalog.catalog().default.name) if name_or_path is None else parse(name_or_path)
    path = _path(name, fetch, progress)
    if fetch:
        records.used(path)
    return path


def _path(name: ModelName, fetch: bool, progress: Progress | None) -> str:
    entry = find_entry(name.text) if name.kind == "catalog" else None
    if entry is not None:
        return _entry_path(entry, fetch, progress)
    if os.path.isfile(name.text):
        return name.text
    for path in files_here():
        if name.text.lower() in (path.name.lower(), path.stem.lower()):
            return str(path)
    if os.path.exists(name.text):
        return name.text  # a directory, a pipe: the reader says what is wrong with it
    raise unknown(name.text)


def _entry_path(entry: Entry, fetch: bool, progress: Progress | None) -> str:
    if entry.is_here:
        return str(entry.path)
    if not fetch:
        raise StoreError(f"{entry.name} is not here yet; fetch it with `localllm pull {entry.name}`")
    from localllm.store.fetch import fetch_model

    return str(fetch_model(entry, progress))


def looks_like_model(text: str) -> bool:
    """Whether a single argument is meant as a model: it resolves, or has the form of a path or of a model's name."""
    if os.path.isfile(text):
        return True
    if not text or any(character.isspace() for character in text):
        return False
    known = any(len(text) > 3 and name.startswith(text.lower()) for name in _names())
    return known or is_path(text) or bool(_NAME_FORM.fullmatch(text)) or bool(_near(text, 0.8))


def unknown(name: str) -> FileError | StoreError:
    """The error for a name that is no model: names the nearest ones."""
    if is_path(name):
        return FileError(f"{name}: no such file")
    near = _near(name)
    hint = f"; near it: {', '.join(near)}" if near else ""
    return StoreError(f"{name!r} is neither a file nor a model of the catalog{hint}; `localllm list` shows all")


def _names() -> dict[str, str]:
    """Every name that resolves, in lower case -> as it is written."""
    names = {name: name for name in catalog.catalog().entries}
    return names | {path.stem.lower(): path.stem for path in files_here()}


def _near(text: str, cutoff: float = 0.4) -> list[str]:
    names = _names()
    return [names[name] for name in difflib.get_close_matches(text.lower(), names, 3, cutoff)]

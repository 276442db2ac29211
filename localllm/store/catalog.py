"""Names to files: what models/catalog.toml lists, what the store holds, and any path."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from localllm.errors import FileError, StoreError
from localllm.store.entry import Entry, PipSource, Progress, UrlSource
from localllm.store.paths import store_dir


@dataclass(frozen=True)
class Catalog:
    default: Entry
    entries: dict[str, Entry]
    """By name, in the file's order."""


_NAME_FORM = re.compile(r"[A-Za-z][\w.]*-[\w.:-]*\d[\w.:-]*")
"""As models are named: llama-3.2-1b. A prompt of one word rarely is."""
_SOURCES: dict[str, type[PipSource] | type[UrlSource]] = {"pip": PipSource, "url": UrlSource}


def parse(text: str) -> Catalog:
    """Reads the text of a catalog.toml. Raises StoreError when a row is not as the file's head describes."""
    try:
        table = tomllib.loads(text)
        entries = [_entry(row) for row in table["model"]]
        by_name = {entry.name: entry for entry in entries}
        return Catalog(by_name[table["default"]], by_name)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise StoreError(f"catalog.toml: {type(error).__name__}: {error}") from None


def _entry(row: dict[str, Any]) -> Entry:
    fields = dict(row)
    sources = [dict(source) for source in fields.pop("source")]
    return Entry(**fields, sources=tuple(_SOURCES[source.pop("kind")](**source) for source in sources))


@cache
def catalog() -> Catalog:
    """The catalog that came with this version."""
    inside = Path(__file__).parent / "models" / "catalog.toml"
    checkout = Path(__file__).parents[2] / "models" / "catalog.toml"
    path = inside if inside.exists() else checkout
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"{path}: the catalog cannot be read: {error.strerror}; install localllm again") from None


def files_here() -> list[Path]:
    """The model files of the store, by name."""
    folder = store_dir()
    return sorted(path for path in folder.glob("*.gguf") if path.is_file()) if folder.is_dir() else []


def find_entry(name: str) -> Entry | None:
    """The catalog's entry of that name, whatever its case."""
    return catalog().entries.get(name.lower())


def resolve(name_or_path: str | None = None, fetch: bool = False, progress: Progress | None = None) -> str:
    """The path of a model, given as path, catalog name or name of a file in the store; None is the default model.

    A catalog model that is not here is fetched when `fetch` is true. `progress` is called with how far that is; without
    it, a bar is drawn on standard error. Raises FileError (no such path) or StoreError (unknown, not here, not to be
    had).
    """
    name = name_or_path if name_or_path is not None else catalog().default.name
    if os.path.isfile(name):
        return name
    entry = find_entry(name)
    if entry is not None:
        return _entry_path(entry, fetch, progress)
    for path in files_here():
        if name.lower() in (path.name.lower(), path.stem.lower()):
            return str(path)
    if os.path.exists(name):
        return name  # a directory, a pipe: the reader says what is wrong with it
    raise unknown(name)


def looks_like_model(text: str) -> bool:
    """Whether a single argument is meant as a model: it resolves, or has the form of a path or of a model's name."""
    if os.path.isfile(text):
        return True
    if not text or any(character.isspace() for character in text):
        return False
    known = any(len(text) > 3 and name.startswith(text.lower()) for name in _names())
    return known or _is_path(text) or bool(_NAME_FORM.fullmatch(text)) or bool(_near(text, 0.8))


def _entry_path(entry: Entry, fetch: bool, progress: Progress | None) -> str:
    if entry.is_here:
        return str(entry.path)
    if not fetch:
        raise StoreError(f"{entry.name} is not here yet; fetch it with `localllm pull {entry.name}`")
    from localllm.store.fetch import fetch_model

    return str(fetch_model(entry, progress))


def _is_path(text: str) -> bool:
    return os.sep in text or (os.altsep is not None and os.altsep in text) or text.lower().endswith(".gguf")


def _names() -> dict[str, str]:
    """Every name that resolves, in lower case -> as it is written."""
    names = {name: name for name in catalog().entries}
    return names | {path.stem.lower(): path.stem for path in files_here()}


def _near(text: str, cutoff: float = 0.4) -> list[str]:
    names = _names()
    return [names[name] for name in difflib.get_close_matches(text.lower(), names, 3, cutoff)]


def unknown(name: str) -> FileError | StoreError:
    """The error for a name that is no model: names the nearest ones."""
    if _is_path(name):
        return FileError(f"{name}: no such file")
    near = _near(name)
    hint = f"; near it: {', '.join(near)}" if near else ""
    return StoreError(f"{name!r} is neither a file nor a model of the catalog{hint}; `localllm list` shows all")

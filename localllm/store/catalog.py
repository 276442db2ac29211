"""What models/catalog.toml lists, and what the store holds of it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from localllm.errors import StoreError
from localllm.store.entry import Entry, PipSource, UrlSource


@dataclass(frozen=True)
class Catalog:
    default: Entry
    entries: dict[str, Entry]
    """By name, in the file's order."""


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
    fields: dict[str, Any] = {"size": 0, "sha256": ""} | row
    sources = [dict(source) for source in fields.pop("source")]
    entry = Entry(**fields, sources=tuple(_SOURCES[source.pop("kind")](**source) for source in sources))
    if any(isinstance(source, PipSource) for source in entry.sources) and not (entry.size and entry.sha256):
        raise TypeError(f"{entry.name}: a file out of a wheel needs size and sha256")
    return entry


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


def find_entry(name: str) -> Entry | None:
    """The catalog's entry of that name, whatever its case."""
    return catalog().entries.get(name.lower())

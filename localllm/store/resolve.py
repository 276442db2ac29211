"""MODEL to a file: the one way of every command."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from localllm.errors import FileError, StoreError
from localllm.store import records
from localllm.store.entry import Progress
from localllm.store.hub_address import is_address
from localllm.store.names import Kind, ModelName, is_path, parse

_NAME_FORM = re.compile(r"[A-Za-z][\w.]*-[\w.:-]*\d[\w.:-]*")
"""As models are named: llama-3.2-1b. A prompt of one word rarely is."""


def resolve(name_or_path: str | None = None, fetch: bool = False, progress: Progress | None = None) -> str:
    """The path of a model's file (the first part of a split one); None is the catalog's default model.

    `fetch`: the model is about to be used: it is downloaded where it is not here, and the time is written down.
    `progress` is called with how far a download is; without it, a bar is drawn on standard error. Raises FileError (no
    such path) or StoreError (unknown, not here, not to be had).
    """
    name = _default() if name_or_path is None else parse(name_or_path)
    path = _path(name, fetch, progress)
    if fetch:
        records.used(path)
    return path


def _default() -> ModelName:
    from localllm.store.catalog import catalog

    return ModelName("catalog", catalog().default.name)


def _path(name: ModelName, fetch: bool, progress: Progress | None) -> str:
    here = _HERE[name.kind](name)
    if here is not None:
        return str(here)
    if name.kind in ("path", "name"):
        raise unknown(name.text)
    if not fetch:
        if name.kind == "hub" and not is_address(name.text):
            raise StoreError(f"{name.text}: no such file, and no model that is here; {_where_to_get(name)}")
        raise StoreError(f"{name.label} is not here yet; {_where_to_get(name)}")
    from localllm.store.fetch import fetch as fetch_now

    return str(fetch_now(name, progress))


def _where_to_get(name: ModelName) -> str:
    return f"fetch it with `localllm pull {name.label}`"


def _in_catalog(name: ModelName) -> Path | None:
    from localllm.store.catalog import find_entry

    entry = find_entry(name.text)
    return entry.path if entry and entry.is_here else None


def _from_hub(name: ModelName) -> Path | None:
    """In the Hugging Face cache, or among what other programs have of that name."""
    from localllm.store.cached import cached

    hub = name.hub
    assert hub is not None
    files = cached(hub)
    if files is not None:
        return files[0]
    return None if hub.file or hub.revision != "main" else _found(hub.label)


def _from_address(name: ModelName) -> Path | None:
    from localllm.store.url_source import here

    return here(name.text)


def _on_disk(name: ModelName) -> str | Path | None:
    """A path; else the name of a model that is here. A directory or a pipe is returned, too: the reader says what is
    wrong with it."""
    return name.text if os.path.exists(name.text) else _found(name.text)


def _found(text: str) -> Path | None:
    from localllm.store.found import find

    found = find(text) if text else None
    return found.path if found else None


_HERE: dict[Kind, Callable[[ModelName], str | Path | None]] = {
    "path": _on_disk,
    "name": _on_disk,
    "catalog": _in_catalog,
    "hub": _from_hub,
    "url": _from_address,
}
"""Kind of a name -> the path of a model that is here."""


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
        what = "a link that leads nowhere" if os.path.islink(name) else "no such file"
        return FileError(f"{name}: {what}")
    near = _near(name)
    hint = f"; near it: {', '.join(near)}" if near else ""
    others = "`localllm list` shows all, ORG/REPO is one of a hub"
    return StoreError(f"{name!r} is neither a file nor a model that is known{hint}; {others}")


def _names() -> dict[str, str]:
    """Every name that is listed, in lower case -> as it is written."""
    from localllm.store.catalog import catalog
    from localllm.store.found import found_models

    names = {name: name for name in catalog().entries}
    return names | {model.name.lower(): model.name for model in found_models()}


def _near(text: str, cutoff: float = 0.4) -> list[str]:
    import difflib

    names = _names()
    return [names[name] for name in difflib.get_close_matches(text.lower(), names, 3, cutoff)]

"""What every origin needs: folders that may be unreadable, and models from the files in them."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from localllm.store.filenames import Note, stem, tag
from localllm.store.stored import StoredModel

MAX_DEPTH = 8
"""Folders within a folder; deeper ones are not looked into."""
MAX_JSON = 1 << 20
"""Bytes of a file that says where models are; a real one has a few hundred."""
Parts = tuple[Path, ...]


def model_files(folder: Path, note: Note, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Every file below a folder that ends in .gguf, by name. Links to files count, links to folders do not: they may
    run in a circle. A folder that cannot be read is passed over, and told."""
    entries = scan(folder, note)
    for entry in entries:
        if entry.name.lower().endswith(".gguf") and _is_file(entry):
            yield Path(entry.path)
    if depth:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from model_files(Path(entry.path), note, depth - 1)


def scan(folder: Path, note: Note) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing where there is no folder. One that cannot be read is told."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        note(f"{folder}: {error.strerror or error}")
        return []


def stored(name: str, origin: str, parts: Parts, note: Note) -> Iterator[StoredModel]:
    """The model of some files; none where one of them is gone or out of reach."""
    try:
        size = sum(part.stat().st_size for part in parts)
    except OSError as error:
        note(f"{parts[0]}: {error.strerror or error}")
        return
    yield StoredModel(name, parts[0], origin, parts, size)


def named(repository: str, models: Iterable[Parts]) -> Iterator[tuple[str, Parts]]:
    """Names of the models of a repository: "org/repo:Q4_K_M"; by the file's name where the quantization does not tell
    them apart; "org/repo" alone for an only one that tells none."""
    models = list(models)
    tags = [tag(parts[0]) for parts in models]
    counts = Counter(tags)
    for parts, found in zip(models, tags, strict=True):
        label = stem(parts[0].name) if counts[found] > 1 else found
        yield (f"{repository}:{label}" if label else repository), parts


def open_file(path: Path) -> BinaryIO:
    """A file to read. Raises OSError, also for what is no file: to open a pipe would wait for ever."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no file", str(path))
    return path.open("rb")


def read_json(path: Path, note: Note) -> dict[str, Any]:
    """The object that a small file holds; an empty one where it holds none, or cannot be read, which is told."""
    try:
        with open_file(path) as file:
            content = file.read(MAX_JSON + 1)
        found = json.loads(content) if len(content) <= MAX_JSON else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        note(f"{path}: {error.strerror if isinstance(error, OSError) else 'no JSON'}")
        return {}
    if not isinstance(found, dict):
        note(f"{path}: no object of JSON, or over {MAX_JSON >> 20} MB")
        return {}
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a circle
        return False

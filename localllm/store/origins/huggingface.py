"""The cache of the Hugging Face hub: models--org--repo/snapshots/REVISION/FILE, links to models--org--repo/blobs/HASH.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache; llama.cpp's common/hf-cache.cpp.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from localllm.store.filenames import Note, whole_models
from localllm.store.hf_cache import cache_dir, is_commit, read_reference
from localllm.store.origins.files import Parts, model_files, named, scan, stored
from localllm.store.origins.origin import Origin
from localllm.store.stored import StoredModel

_REPOSITORY = re.compile(r"models--([^/\\]+?)--([^/\\]+)")


def _folders() -> list[Path]:
    """llama.cpp keeps the same layout in $LLAMA_CACHE, where that is set."""
    own = os.environ.get("LLAMA_CACHE")
    return list(dict.fromkeys([Path(own).expanduser(), cache_dir()] if own else [cache_dir()]))


def _models(note: Note) -> Iterator[StoredModel]:
    for entry in chain.from_iterable(scan(folder, note) for folder in _folders()):
        found = _REPOSITORY.fullmatch(entry.name)
        if found:
            yield from _of_repository(f"{found[1]}/{found[2]}", Path(entry.path), note)


def _of_repository(repository: str, folder: Path, note: Note) -> Iterator[StoredModel]:
    """What several revisions have is told once, by the newest one's name; what an older one has beside it, by its
    revision."""
    taken: set[str] = set()
    seen: set[str] = set()
    for revision in _revisions(folder, note):
        files = list(model_files(folder / "snapshots" / revision, note))
        for name, parts in named(repository, whole_models(files, note)):
            if not _is_new(parts, seen):
                continue
            name = f"{name}@{revision[:7]}" if name in taken else name
            taken.add(name)
            yield from stored(name, HUGGINGFACE.name, parts, note)


def _is_new(parts: Parts, seen: set[str]) -> bool:
    blob = os.path.realpath(parts[0])
    is_new = blob not in seen
    seen.add(blob)
    return is_new


def _revisions(folder: Path, note: Note) -> list[str]:
    """Those that are here: the one that `main` is first, then those of other references, then the newest."""
    here = {entry.name: entry for entry in scan(folder / "snapshots", note) if is_commit(entry.name)}
    references = {entry.name: read_reference(Path(entry.path)) for entry in scan(folder / "refs", note)}
    first = [references.get("main", ""), *references.values()]

    def order(name: str) -> tuple[int, float]:
        return (first.index(name) if name in first else len(first)), -_mtime(here[name])

    return sorted(here, key=order)


def _mtime(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


HUGGINGFACE = Origin("huggingface", "Hugging Face", _folders, _models)

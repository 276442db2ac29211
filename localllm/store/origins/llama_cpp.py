"""llama.cpp's own cache, which it used before the Hugging Face cache: ORG_REPO_FILE.gguf, all in one folder, and
manifest=ORG=REPO=TAG.json, whose name tells where ORG and REPO end.

Folder: common/common.cpp (fs_get_cache_directory); names: common_list_cached_models in common/download.cpp
of 2025.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from localllm.store.filenames import Note, stem, whole_models
from localllm.store.origins.files import Parts, model_files, named, scan, stored
from localllm.store.origins.origin import Origin
from localllm.store.stored import StoredModel

_MANIFEST = re.compile(r"manifest=([^=]+)=([^=]+)=[^=]+\.json")


def _folders() -> list[Path]:
    if os.environ.get("LLAMA_CACHE"):
        return [Path(os.environ["LLAMA_CACHE"]).expanduser()]
    places = {"win32": os.environ.get("LOCALAPPDATA") or "~/AppData/Local", "darwin": "~/Library/Caches"}
    place = places.get(sys.platform) or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [Path(place).expanduser() / "llama.cpp"]


def _models(note: Note) -> Iterator[StoredModel]:
    for folder in _folders():
        repositories = {
            f"{found[1]}_{found[2]}_": f"{found[1]}/{found[2]}"
            for entry in scan(folder, note)
            if (found := _MANIFEST.fullmatch(entry.name))
        }
        by_repository: dict[str, list[Parts]] = {}
        for parts in whole_models(model_files(folder, note, 0), note):
            begins = [prefix for prefix in repositories if parts[0].name.startswith(prefix)]
            repository = repositories[max(begins, key=len)] if begins else ""
            by_repository.setdefault(repository, []).append(parts)
        for repository, models in by_repository.items():
            for name, parts in named(repository, models) if repository else _by_file(models):
                yield from stored(name, LLAMA_CPP.name, parts, note)


def _by_file(models: list[Parts]) -> Iterator[tuple[str, Parts]]:
    return ((stem(parts[0].name), parts) for parts in models)


LLAMA_CPP = Origin("llama.cpp", "llama.cpp", _folders, _models)

"""The models on this machine, by name: what we fetched, and what other programs did, used where it lies."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from localllm.store.catalog import catalog
from localllm.store.filenames import PREFERRED, Note, stem
from localllm.store.origins import origins
from localllm.store.origins.origin import Origin
from localllm.store.paths import store_dir
from localllm.store.records import all_files
from localllm.store.stored import StoredModel

_note = logging.getLogger("localllm.store").info
_HUB_HOSTS = ("hf.co/", "huggingface.co/")


def found_models(note: Note = _note) -> list[StoredModel]:
    """All that are here, in the order of ORIGINS; those of the catalog by its names. A name that two programs use means
    the first one's; the other is "PROGRAM:NAME". `note` is told what was passed over, and why."""
    models: list[StoredModel] = []
    names: set[str] = set()
    known, own = all_files(), os.path.join(os.path.realpath(store_dir()), "")
    listed = {str(entry.path): entry.name for entry in catalog().entries.values() if entry.is_here}
    for origin in origins():
        for model in _of(origin, note):
            model = replace(model, name=listed.get(str(model.path), model.name))
            name = next(name for name in _names(model) if name.lower() not in names)
            names.add(name.lower())
            real = os.path.realpath(model.path)
            pulled, used = known.get(real, (False, None))
            owned = pulled or real.startswith(own)
            models.append(replace(model, name=name, owned=owned, last_used=used))
    return models


def _of(origin: Origin, note: Note) -> Iterator[StoredModel]:
    """A program's models; where its folders do what nobody has foreseen, those before it."""
    try:
        yield from origin.models(note)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home folder
        note(f"{origin.title}: {error}")


def _names(model: StoredModel) -> Iterator[str]:
    """What a model may be called: the first one that is free."""
    yield model.name
    yield f"{model.origin}:{model.name}"
    for number in count(2):
        yield f"{model.origin}:{model.name}#{number}"


def find(name: str, models: Sequence[StoredModel] | None = None) -> StoredModel | None:
    """The model of a name, whatever its case: as `found_models` gives it, without what a maker puts before a
    quantization (UD-), a repository's or Ollama's without a tag (Q4_K_M, else Q8_0, else the first; Ollama's
    ":latest"), or a file's name with or without ".gguf"."""
    models = found_models() if models is None else models
    wanted = name.lower()
    for prefix in _HUB_HOSTS:
        wanted = wanted.removeprefix(prefix)
    by_name: dict[str, StoredModel] = {}
    for model in models:
        by_name.setdefault(model.name.lower().removeprefix("hf.co/"), model)
    for tag in ("", ":latest", *(f":{tag.lower()}" for tag in PREFERRED)):
        if wanted + tag in by_name:
            return by_name[wanted + tag]
    repository, _, quantization = wanted.rpartition(":")
    near = (
        model
        for known, model in by_name.items()
        if known.startswith(wanted + ":")
        or (repository and known.startswith(repository + ":") and known.endswith("-" + quantization))
    )
    files = (model for model in models if wanted in (model.path.name.lower(), stem(model.path.name).lower()))
    return next(near, None) or next(files, None)

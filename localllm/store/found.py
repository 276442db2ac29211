"""The models on this machine, by name: what we fetched, and what other programs did, used where it lies."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace

from localllm.store.filenames import PREFERRED, Note, stem
from localllm.store.origins import origins
from localllm.store.stored import StoredModel

_note = logging.getLogger("localllm.store").info
_HUB_HOSTS = ("hf.co/", "huggingface.co/")


def found_models(note: Note = _note) -> list[StoredModel]:
    """All that are here, in the order of ORIGINS, each file once. A name that two programs use means the first one's;
    the other is "PROGRAM:NAME". `note` is told what was passed over, and why."""
    models: list[StoredModel] = []
    names: set[str] = set()
    files: set[str] = set()
    for origin in origins():
        for model in origin.models(note):
            file = os.path.realpath(model.path)
            if file in files:
                continue
            if model.name.lower() in names:
                model = replace(model, name=f"{origin.name}:{model.name}")
            files.add(file)
            names.add(model.name.lower())
            models.append(model)
    return models


def find(name: str, models: Sequence[StoredModel] | None = None) -> StoredModel | None:
    """The model of a name, whatever its case: as `found_models` gives it, a repository's or Ollama's without a tag
    (Q4_K_M, else Q8_0, else the first; Ollama's ":latest"), or a file's name with or without ".gguf"."""
    models = found_models() if models is None else models
    wanted = name.lower()
    for prefix in _HUB_HOSTS:
        wanted = wanted.removeprefix(prefix)
    by_name = {model.name.lower().removeprefix("hf.co/"): model for model in reversed(models)}
    for tag in ("", ":latest", *(f":{tag.lower()}" for tag in PREFERRED)):
        if wanted + tag in by_name:
            return by_name[wanted + tag]
    tagged = (model for known, model in reversed(by_name.items()) if known.startswith(wanted + ":"))
    files = (model for model in models if wanted in (model.path.name.lower(), stem(model.path.name).lower()))
    return next(tagged, None) or next(files, None)

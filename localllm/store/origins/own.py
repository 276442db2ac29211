"""The files of our own store: models of the catalog by their names, others by their file's name."""

from __future__ import annotations

from collections.abc import Iterator

from localllm.store.catalog import catalog
from localllm.store.filenames import Note, stem, whole_models
from localllm.store.origins.files import model_files, stored
from localllm.store.origins.origin import Origin
from localllm.store.paths import store_dir
from localllm.store.stored import StoredModel


def _models(note: Note) -> Iterator[StoredModel]:
    entries = {entry.file: entry for entry in catalog().entries.values()}
    for parts in whole_models(model_files(store_dir(), note, 0), note):
        entry = entries.get(parts[0].name)
        for model in stored(entry.name if entry else stem(parts[0].name), OWN.name, parts, note):
            if entry is None or model.size == (entry.size or model.size):
                yield model
            else:
                note(f"{model.path}: is not whole: {entry.name} has {entry.size} bytes")


OWN = Origin("localllm", "localllm", lambda: [store_dir()], _models)

"""Which models there are: files that were named, those of a folder, and those of the store."""

from __future__ import annotations

import difflib
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from localllm.store.catalog import catalog
from localllm.store.found import found_models

_FRESH_SECONDS = 2.0
"""Folders are not read again before."""
_NEAR = 3
_PART = re.compile(r"-\d{5}-of-\d{5}$")
_FIRST_PART = re.compile(r"-00001-of-\d{5}$")
_NO_MODELS = re.compile(r"mmproj|imatrix", re.IGNORECASE)
"""Files beside models that are none (llama.cpp's naming)."""


class Library:
    """Names -> files. `given`: paths by name, which come first; `folder`: searched with all folders in it; `store`:
    whether the models that `localllm list` shows as here are among them; `any_name`: every name means the first one."""

    def __init__(
        self, given: Mapping[str, str], folder: str | None = None, store: bool = False, any_name: bool = False
    ) -> None:
        self._given, self._folder, self._store, self._any_name = dict(given), folder, store, any_name
        self._files: dict[str, str] = {}
        self._read = -_FRESH_SECONDS

    def files(self) -> dict[str, str]:
        """Name -> path of every model, those given first. A path has one name but where several were given for it."""
        if time.monotonic() - self._read >= _FRESH_SECONDS:
            self._files = dict(self._given)
            known = {os.path.realpath(path) for path in self._given.values()}
            for name, path in [*self._of_folder(), *self._of_store()]:
                if os.path.realpath(path) not in known:
                    known.add(os.path.realpath(path))
                    self._files.setdefault(name, path)
            self._read = time.monotonic()
        return self._files

    def refresh(self) -> None:
        """Read the folders again at the next look: a model was added."""
        self._read = -_FRESH_SECONDS

    def find(self, name: str) -> str | None:
        """The name as `files` has it: whatever its case, and without Ollama's tag ":latest"."""
        wanted = name.lower().removesuffix(":latest")
        first = next(iter(self.files()), None) if self._any_name else None
        return next((known for known in self.files() if known.lower() == wanted), first)

    def first(self, name: str) -> str:
        """The first name of the file that a name stands for: it is loaded once, whatever it is called."""
        path = self.files().get(name)
        return next((known for known, other in self.files().items() if other == path), name)

    def near(self, name: str) -> list[str]:
        """Names like this one; those that begin with it come first."""
        names = list(self.files())
        begun = [known for known in names if name and known.lower().startswith(name.lower())]
        return (begun or difflib.get_close_matches(name, names, 3, 0.4))[:_NEAR]

    def _of_folder(self) -> Iterable[tuple[str, str]]:
        if self._folder is None:
            return
        found = [path for path in sorted(Path(self._folder).rglob("*.gguf")) if is_model(path)]
        stems = Counter(stem(path) for path in found)
        for path in found:
            name = stem(path)
            yield (name if stems[name] == 1 else str(path.relative_to(self._folder).with_name(name))), str(path)

    def _of_store(self) -> Iterable[tuple[str, str]]:
        if not self._store:
            return
        for entry in catalog().entries.values():
            if entry.is_here:
                yield entry.name, str(entry.path)
        for model in found_models():
            yield model.name, str(model.path)


def is_model(path: Path) -> bool:
    """Whether a file is a model by its name; of one in parts the first stands for all."""
    whole = not _PART.search(path.stem) or bool(_FIRST_PART.search(path.stem))
    return whole and not _NO_MODELS.search(path.stem) and path.is_file()


def stem(path: Path) -> str:
    """The name of a file, without the number of a part."""
    return _PART.sub("", path.stem)

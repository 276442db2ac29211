"""Which models there are: files that were named, those of a folder, and those of the store."""

from __future__ import annotations

import difflib
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from localllm.store.filenames import is_model, part_of, stem
from localllm.store.found import find, found_models
from localllm.store.stored import StoredModel

_FRESH_SECONDS = 2.0
"""The folder is not read again before."""
_FOUND_SECONDS = 30.0
"""What lies on the machine is not looked for again before, unless a name is unknown: it takes a millisecond a model."""
_NEAR = 3


class Library:
    """Names -> files. `given`: paths by name, which come first; `folder`: searched with all folders in it; `store`:
    whether the models that `localllm list` shows as here are among them; `any_name`: every name means the first one."""

    def __init__(
        self, given: Mapping[str, str], folder: str | None = None, store: bool = False, any_name: bool = False
    ) -> None:
        self._given, self._folder, self._store, self._any_name = dict(given), folder, store, any_name
        self._files: dict[str, str] = {}
        self._found: list[StoredModel] = []
        self._read, self._looked = -_FRESH_SECONDS, -_FOUND_SECONDS

    def files(self) -> dict[str, str]:
        """Name -> path of every model, those given first. A path has one name but where several were given for it, or
        its program has several."""
        if time.monotonic() - self._read >= _FRESH_SECONDS:
            files = dict(self._given)
            for models in (self._of_folder(), self._of_machine()):
                known = set(map(os.path.realpath, files.values()))
                for name, path in models:
                    if os.path.realpath(path) not in known:
                        files.setdefault(name, path)
            self._files, self._read = files, time.monotonic()
        return self._files

    def refresh(self) -> None:
        """Read the folders again at the next look: a model was added."""
        self._read, self._looked = -_FRESH_SECONDS, -_FOUND_SECONDS

    def find(self, name: str) -> str | None:
        """The name as `files` has it: whatever its case, and as `localllm.store.found.find` understands it: without
        Ollama's tag ":latest", a repository's without its quantization."""
        found = self._find(name)
        if found is None and time.monotonic() - self._looked >= _FRESH_SECONDS:
            self.refresh()
            found = self._find(name)
        return found or (next(iter(self.files()), None) if self._any_name else None)

    def _find(self, name: str) -> str | None:
        names = {known.lower(): known for known in self.files()}
        wanted = name.lower()
        exact = names.get(wanted) or names.get(wanted.removesuffix(":latest"))
        model = find(name, self._found) if exact is None and self._store else None
        return exact if model is None else names.get(model.name.lower())

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
        found = [path for path in sorted(Path(self._folder).rglob("*.gguf")) if _is_model(path)]
        stems = Counter(map(stem, found))
        for path in found:
            name = stem(path)
            yield (name if stems[name] == 1 else path.relative_to(self._folder).with_name(name).as_posix()), str(path)

    def _of_machine(self) -> Iterable[tuple[str, str]]:
        if self._store and time.monotonic() - self._looked >= _FOUND_SECONDS:
            self._found = found_models()
            self._looked = time.monotonic()
        return ((model.name, str(model.path)) for model in self._found)


def _is_model(path: Path) -> bool:
    """Whether a file is a model by its name; of one in parts the first stands for all."""
    part = part_of(path)
    return is_model(path) and (part is None or part.number == 1) and path.is_file()

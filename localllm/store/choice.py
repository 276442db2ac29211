"""Which file of a repository is meant: by quantization, by name, or by the usual order of preference.

The order of preference and what is passed over are llama.cpp's (common/download.cpp, find_best_model).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from localllm.errors import StoreError
from localllm.store.filenames import PREFERRED, is_model, part_of, quantization, stem, tag

_MOST_NAMED = 24
"""Quantizations that an error names."""


@dataclass(frozen=True)
class Choice:
    """A model of a repository: paths of its parts in their order. `tag`: its quantization as it is written there, with
    what stands before it ("UD-Q4_K_XL"); else the name of its file."""

    parts: tuple[str, ...]
    tag: str


def choose(paths: Iterable[str], label: str, quant: str = "", file: str = "") -> Choice:
    """One of the models among `paths`: of quantization `quant`, or the one that `file` is (a part of); neither: Q4_K_M,
    else Q8_0, else the first. Case does not matter. `label` names the repository in errors.

    Raises StoreError: no GGUF file, no such one (it names those that are), a part missing.
    """
    models = choices(paths)
    if not models:
        raise StoreError(f"{label}: there is no model as a GGUF file in this repository")
    if file:
        found = [model for model in models if any(part.lower() == file.lower() for part in model.parts)]
    elif quant:
        found = _of_quant(models, quant)
    else:
        found = [model for tag in PREFERRED for model in _of_quant(models, tag)] or models
    if not found:
        names = sorted({model.tag for model in models}, key=str.lower)
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise StoreError(f"{label}: there is no {file or quant}; there is {', '.join(names[:_MOST_NAMED])}{more}")
    return _whole(found[0], label)


def choices(paths: Iterable[str]) -> list[Choice]:
    """The models among the files of a repository, by name; the parts of a split one are one model."""
    groups: dict[tuple[str, int], list[str]] = {}
    for path in sorted(paths, key=lambda path: (path.lower(), path)):
        if is_model(path):
            part = part_of(path)
            folder = PurePosixPath(path).parent
            key = (path, 0) if part is None else (str(folder / part.stem), part.count)
            groups.setdefault(key, []).append(path)
    return [Choice(tuple(parts), tag(parts[0]) or stem(parts[0])) for parts in groups.values()]


def _of_quant(models: Sequence[Choice], quant: str) -> list[Choice]:
    """Those of a quantization, the nearest first: exactly so called; so called behind a prefix such as UD-; in a folder
    of that name; with it anywhere in the name."""
    wanted = quant.lower()
    inside = re.compile(rf"(?:^|[-._/]){re.escape(wanted)}(?:$|[-._/])")

    def distance(model: Choice) -> int | None:
        path = model.parts[0].lower()
        name = stem(path)
        tests = (
            model.tag.lower() == wanted or name == wanted,
            quantization(path).lower() == wanted,
            name.endswith((f"-{wanted}", f".{wanted}", f"_{wanted}")),
            PurePosixPath(path).parent.name == wanted,
            bool(inside.search(path)),
        )
        return next((i for i, passed in enumerate(tests) if passed), None)

    near = [(found, model) for model in models if (found := distance(model)) is not None]
    return [model for _, model in sorted(near, key=lambda pair: pair[0])]


def _whole(model: Choice, label: str) -> Choice:
    part = part_of(model.parts[0])
    count = part.count if part else 1
    numbers = [found.number if (found := part_of(path)) else 1 for path in model.parts]
    if numbers != list(range(1, count + 1)):
        raise StoreError(f"{label}: {len(model.parts)} of {count} parts of {model.parts[0]} are there")
    return model

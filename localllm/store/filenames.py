"""What the names of model files tell: parts of a split model, the quantization, files that are no models themselves.

Naming: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#gguf-naming-convention; what is passed over is that of
llama.cpp's common/download.cpp (common_list_cached_models).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from localllm.gguf import split
from localllm.gguf.split import Part

Note = Callable[[str], None]
"""Takes a line about something that was passed over."""

_QUANTIZATION = re.compile(r"(?:^|[-._])((?:I?Q\d|TQ\d|MXFP4|NVFP4|BF16|FP?16|FP?32)[A-Z0-9_]*)$", re.IGNORECASE)
_BEFORE = re.compile(r"(?:^|[-._])(UD-|i1-)$", re.IGNORECASE)
"""What makers put before a quantization: UD-Q4_K_XL (unsloth), i1-Q4_K_M (mradermacher)."""
_NO_MODEL = re.compile(r"mmproj|imatrix|(?:^|[-._])(?:mtp|eagle3|dflash|dspark)-", re.IGNORECASE)
PREFERRED = ("Q4_K_M", "Q8_0")
"""Quantizations that are taken where none is asked for, the first that there is; else the first file."""


def is_model(name: str | PurePath) -> bool:
    """Whether a file is a model, or a part of one, by its name: no projector, no importance matrix, no draft head."""
    path = PurePath(name)
    return path.suffix.lower() == ".gguf" and not _NO_MODEL.search(path.name)


def part_of(name: str | PurePath) -> Part | None:
    """Which part of a split model a file is, by its name without folders; None for a whole one."""
    return split.part_of(PurePath(name).name)


def stem(name: str | PurePath) -> str:
    """The file's name without folders, ".gguf" and the number of a part."""
    part = part_of(name)
    return PurePath(name).stem if part is None else part.stem


def quantization(name: str | PurePath) -> str:
    """The quantization at the end of a file's name, in capitals; "" where there is none."""
    found = _QUANTIZATION.search(stem(name))
    return found[1].upper() if found else ""


def tag(name: str | PurePath) -> str:
    """The quantization as the file's name has it, with what its maker put before it, else the folder that is called so;
    "" where neither tells one."""
    folder = PurePath(name).parent.name
    return _tagged(stem(name)) or (folder if _tagged(folder).lower() == folder.lower() else "")


def _tagged(text: str) -> str:
    found = _QUANTIZATION.search(text)
    if found is None:
        return ""
    before = _BEFORE.search(text[: found.start(1)])
    return (before[1] if before else "") + found[1].upper()


def whole_models(paths: Iterable[Path], note: Note) -> Iterator[tuple[Path, ...]]:
    """The files of each model among `paths`, by name; models of which a part is missing are passed over."""
    parts: dict[tuple[Path, Part], dict[int, Path]] = {}
    for path in sorted(paths):
        if is_model(path.name):
            part = part_of(path.name)
            key = path.parent, Part(path.name, 1, 1) if part is None else replace(part, number=1)
            parts.setdefault(key, {})[1 if part is None else part.number] = path
    for (folder, model), found in parts.items():
        here = [found[number] for number in sorted(found) if 1 <= number <= model.count]
        if len(here) == len(found) == model.count:
            yield tuple(here)
        else:
            note(f"{folder / model.stem}: {len(here)} of {model.count} parts are here")

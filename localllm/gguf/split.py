"""Models that are split into several files: the names of the parts, and whether they belong together.

Conventions of llama.cpp (tools/gguf-split, src/llama-model-loader.cpp): parts are named stem-00001-of-00003.gguf; the
first holds all metadata and maybe no tensor; each says split.no (from 0), split.count and split.tensors.count. What a
file says never becomes a path: parts are looked for under the name that was given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from localllm.gate import files
from localllm.gate.check import Place

if TYPE_CHECKING:  # names alone are looked at before any file is opened
    from localllm.gguf.header import Header, TensorInfo

_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL | re.IGNORECASE)
"""llama_split_path in llama.cpp's src/llama.cpp."""
_ARCHITECTURE, _ALIGNMENT = "general.architecture", "general.alignment"


@dataclass(frozen=True)
class Part:
    """What a name or path says of a part: `stem` stands before its number, which counts from 1. Neither number is
    checked."""

    stem: str
    number: int
    count: int


def part_of(name: str) -> Part | None:
    """Which part of a split model a file is by its name or path; None for a whole one."""
    match = _NAME.fullmatch(name)
    return Part(match[1], int(match[2]), int(match[3])) if match else None


def part_name(stem: str, number: int, count: int) -> str:
    """The name or path of part `number` (from 1) of a model that is split into `count`."""
    return f"{stem}-{number:05d}-of-{count:05d}.gguf"


def part_names(name: str) -> tuple[str, ...]:
    """The names or paths of all parts, in order, of the split model that one of them is named after; `name` alone where
    it is no such name."""
    part = part_of(name)
    if part is None or not 1 <= part.number <= part.count <= files.MAX_PARTS:
        return (name,)
    names = (part_name(part.stem, number, part.count) for number in range(1, part.count + 1))
    return tuple(other[:-5] + name[-5:] for other in names)  # .gguf or .GGUF, as it is written


def parts_of(header: Header) -> tuple[str, ...]:
    """Where all parts of the model are that a file belongs to; its own path alone where it is not split.

    Raises FileError for a name that does not say what the file does, FormatError for an impossible count.
    """
    count = _count(header)
    if count <= 1:
        return (header.path,)
    names = part_names(header.path)
    files.part_name(header.path, len(names), count, part_name("", _number(header, count) + 1, count))
    return names


def join(headers: Sequence[Header]) -> dict[str, TensorInfo]:
    """The tensors of all parts of a model, given in order. Raises FormatError where they do not belong together."""
    first, count = headers[0], len(headers)
    tensors: dict[str, TensorInfo] = {}
    for part, header in enumerate(headers):
        if count > 1:
            _check_part(header, first, part, count)
        for name, info in header.tensors.items():
            other = tensors.get(name)
            files.one_part(Place(header.path, f"tensor {name}"), headers[other.part].path if other else None)
            tensors[name] = replace(info, part=part) if part else info
    files.n_tensors(Place(first.path, ""), len(tensors), count)
    for header in headers if count > 1 else ():
        stated = header.metadata.get_typed("split.tensors.count", int, len(tensors))
        files.tensors_in_all(_place(header, "split.tensors.count"), stated, len(tensors))
    return tensors


def _check_part(header: Header, first: Header, part: int, count: int) -> None:
    files.by_name(_place(header, "split.count"), _count(header), count)
    files.by_name(_place(header, "split.no"), _number(header, count), part)
    files.alike(Place(header.path, "version"), header.version, first.version, first.path)
    # Parts after the first do not repeat the metadata.
    if _ALIGNMENT in header.metadata:
        files.alike(_place(header, _ALIGNMENT), header.alignment, first.alignment, first.path)
    wanted = first.metadata.get_typed(_ARCHITECTURE, str, "")
    architecture = header.metadata.get_typed(_ARCHITECTURE, str, wanted)
    files.alike(_place(header, _ARCHITECTURE), architecture, wanted, first.path)


def _count(header: Header) -> int:
    """0 and 1: a whole file. llama.cpp's gguf-split writes 0 into what it has merged."""
    return files.split_number(
        _place(header, "split.count"), header.metadata.get_typed("split.count", int, 1), files.MAX_PARTS
    )


def _number(header: Header, count: int) -> int:
    return files.split_number(_place(header, "split.no"), header.metadata.get_typed("split.no", int), count - 1)


def _place(header: Header, key: str) -> Place:
    return Place(header.path, f"metadata key {key}")

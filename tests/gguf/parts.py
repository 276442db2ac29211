"""Splits a GGUF file into parts as llama.cpp's gguf-split does (tools/gguf-split/gguf-split.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from localllm.gguf.reader import GGUFFile, open_gguf
from tests.gguf import build as b

ALIGNMENT = 32


def split(path: Path, stem: Path, tensors_a_part: int, metadata_alone: bool = False) -> list[Path]:
    """The parts, in order. metadata_alone: the first part holds no tensor (--no-tensor-first-split)."""
    with open_gguf(path) as file:
        names = list(file.tensors)
        groups = [names[i : i + tensors_a_part] for i in range(0, len(names), tensors_a_part)]
        groups = [[], *groups] if metadata_alone else groups
        paths = [Path(f"{stem}-{i + 1:05d}-of-{len(groups):05d}.gguf") for i in range(len(groups))]
        content = path.read_bytes()
        for i, (part, group) in enumerate(zip(paths, groups, strict=True)):
            first = _pairs(content) if i == 0 else b""
            n_kv = 3 + (len(file.metadata) if i == 0 else 0)
            part.write_bytes(_part(file, group, first + keys(i, len(groups), len(names)), n_kv))
    return paths


def keys(number: int, count: int, n_tensors: int) -> bytes:
    return (
        b.kv("split.no", b.U16, number)
        + b.kv("split.count", b.U16, count)
        + b.kv("split.tensors.count", b.I32, n_tensors)
    )


def _pairs(content: bytes) -> bytes:
    """The key-value pairs of a whole file, as they stand there."""
    from localllm.gguf.metadata import Metadata
    from localllm.gguf.values import Cursor

    cursor = Cursor(content, len(content), "whole")
    cursor.pos = 16
    n_kv = cursor.number("Q", "n_kv")
    Metadata("whole").read(cursor, n_kv)
    return content[24 : cursor.pos]


def _part(file: GGUFFile, names: Sequence[str], pairs: bytes, n_kv: int) -> bytes:
    rows, data = b"", b""
    for name in names:
        info = file.tensors[name]
        rows += b.tensor(name, info.shape, info.format.id, len(data))
        data += bytes(file.data(info)) + bytes(-info.n_bytes % ALIGNMENT)
    head = b"GGUF" + b.pack("IQQ", 3, len(names), n_kv) + pairs + rows
    return head + bytes(-len(head) % ALIGNMENT) + data

"""What stands before the data of a GGUF file: header, metadata and tensor directory.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. Everything the file
says is checked against the file's size before it is believed, with Python integers; stricter than llama.cpp where that
costs no real file.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from localllm.errors import NeedMoreError
from localllm.gate import directory
from localllm.gate import header as gate
from localllm.gate.check import Place
from localllm.gguf.metadata import Metadata
from localllm.gguf.values import Bytes, Cursor
from localllm.kernels.formats.table import BY_ID, FORMATS, REMOVED, Format

DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's place in its file. `shape` is in GGML's order: shape[0] (ne0) is the contiguous axis."""

    name: str
    format: Format
    shape: tuple[int, ...]
    offset: int
    """Byte offset from the start of the file."""
    n_bytes: int
    n_elements: int
    part: int = 0
    """Of a split model: in which of its files the data lie."""


@dataclass(frozen=True)
class Header:
    """What one file says before its data, checked."""

    path: str
    size: int
    """Bytes of the whole file."""
    version: int
    metadata: Metadata
    alignment: int
    tensors: Mapping[str, TensorInfo]


def read_header(data: Bytes, size: int, path: str) -> Header:
    """Reads and checks what stands before the data of a file of `size` bytes, of which `data` has the first ones.

    Raises FormatError, UnsupportedError (a version or byte order that is not read here), or NeedMoreError where `data`
    ends too early.
    """
    cursor, version, n_tensors, n_kv = _begin(data, size, path)
    cursor.need_at_hand(cursor.pos + n_tensors * gate.MIN_TENSOR_BYTES + n_kv * gate.MIN_KV_BYTES)
    metadata = Metadata(path)
    metadata.read(cursor, n_kv)
    alignment = _alignment(metadata)
    return Header(path, size, version, metadata, alignment, _directory(cursor, n_tensors, alignment))


def read_beginning(data: bytes, size: int, path: str) -> Metadata:
    """The first keys of a file of `size` bytes: those that stand wholly in `data`. To tell many files apart quickly.

    Raises as `read_header` does for what stands in `data`; NeedMoreError for less than 24 bytes.
    """
    cursor, _, _, n_kv = _begin(data, size, path)
    metadata = Metadata(path)
    with contextlib.suppress(NeedMoreError):
        metadata.read(cursor, n_kv)
    return metadata


def _begin(data: Bytes, size: int, path: str) -> tuple[Cursor, int, int, int]:
    """A cursor behind the counts; the version, and how many tensors and keys there are."""
    cursor = Cursor(data, size, path)
    cursor.need_at_hand(min(gate.MIN_BYTES, size))
    whole, start = Place(path, ""), bytes(data[:10])
    gate.file_length(whole, size, start)
    gate.magic(whole, start)
    cursor.pos = len(gate.MAGIC)
    version = gate.version(cursor.at("version"), cursor.number("I", "version"))
    n_tensors = gate.n_tensors(cursor.at("n_tensors"), cursor.number("Q", "n_tensors"))
    n_kv = gate.n_kv(cursor.at("n_kv"), cursor.number("Q", "n_kv"))
    gate.counts(cursor.at("n_tensors, n_kv", 8), n_tensors, n_kv, cursor.size - cursor.pos)
    return cursor, version, n_tensors, n_kv


def _alignment(metadata: Metadata) -> int:
    key = "general.alignment"
    if key not in metadata:
        return DEFAULT_ALIGNMENT
    place = Place(metadata.path, f"metadata key {key}")
    kind, count = metadata.describe(key)
    gate.alignment_type(place, kind if count is None else f"an array of {kind}")
    return gate.alignment(place, metadata[key])


def _directory(cursor: Cursor, n_tensors: int, alignment: int) -> dict[str, TensorInfo]:
    """The tensor directory. Data follows it: tensor after tensor in its order, each aligned, without holes."""
    rows: dict[str, tuple[TensorInfo, int]] = {}
    for index in range(n_tensors):
        start = cursor.pos
        info = _tensor(cursor, index)
        directory.new_name(cursor.at(f"tensor {index}", start), info.name, rows)
        rows[info.name] = info, cursor.pos - 8
    base = _align(cursor.pos, alignment)
    expected, tensors = 0, {}
    for info, field_at in rows.values():
        place = cursor.at(f"tensor {info.name}", field_at)
        directory.data_offset(place, info.offset, expected, alignment)
        directory.data_end(place, base + info.offset + info.n_bytes, cursor.size)
        expected = _align(info.offset + info.n_bytes, alignment)
        tensors[info.name] = replace(info, offset=base + info.offset)
    return tensors


def _tensor(cursor: Cursor, index: int) -> TensorInfo:
    """One row of the directory; its offset counts from the start of the data."""
    name = cursor.name(f"name of tensor {index}", directory.name_length)
    field = f"tensor {name}"
    n_dims = directory.n_dims(cursor.at(field), cursor.number("I", f"{field}, n_dims"))
    start = cursor.pos
    shape = tuple(cursor.number("q", f"{field}, dimension {axis}") for axis in range(n_dims))
    directory.shape(cursor.at(field, start), shape)
    type_place = cursor.at(field)
    type_id = cursor.number("I", f"{field}, type")
    fmt = BY_ID[directory.tensor_type(type_place, type_id, BY_ID, REMOVED, FORMATS)]
    directory.whole_blocks(type_place, shape[0], fmt.block, fmt.name)
    offset = cursor.number("Q", f"{field}, offset")
    n_elements = math.prod(shape)
    return TensorInfo(name, fmt, shape, offset, fmt.row_bytes(n_elements), n_elements)


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment

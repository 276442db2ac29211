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

from localllm.errors import FormatError, NeedMoreError, UnsupportedError
from localllm.gguf.metadata import Metadata
from localllm.gguf.values import Bytes, Cursor
from localllm.kernels.formats.table import BY_ID, FORMATS, REMOVED, Format

MAX_KV = 1 << 16
MAX_TENSORS = 1 << 17
MAX_NAME = 63
"""Bytes of a tensor's name: ggml's GGML_MAX_NAME without its NUL."""
MAX_DIMS = 4
MIN_ALIGNMENT, MAX_ALIGNMENT, DEFAULT_ALIGNMENT = 8, 1 << 20, 32
MIN_BYTES = 24
"""Of a file: its magic, version and counts."""
_MIN_KV_BYTES = 8 + 1 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8
_UINT32 = 4

_OTHER_FILES: dict[bytes, str] = {
    b"lmgg": "a GGML file of 2023: convert the original model to GGUF",
    b"fmgg": "a GGML file of 2023: convert the original model to GGUF",
    b"tjgg": "a GGML file of 2023: convert the original model to GGUF",
    b"algg": "a GGML adapter of 2023: convert the original to GGUF",
    b"PK\3\4": "a zip archive: unpack it, or, for a PyTorch checkpoint, convert it to GGUF",
    b"vers": "a Git LFS pointer or a text: fetch the file itself (git lfs pull)",
    b"<!DO": "a web page: the download failed, fetch the file itself",
    b"<!do": "a web page: the download failed, fetch the file itself",
    b"<htm": "a web page: the download failed, fetch the file itself",
}

_SAFETENSORS = "a safetensors file: `localllm quantize FOLDER OUT.gguf F16` converts the folder that it is in"


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
    cursor.need_at_hand(cursor.pos + n_tensors * _MIN_TENSOR_BYTES + n_kv * _MIN_KV_BYTES)
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
    if size < MIN_BYTES:
        raise FormatError(f"{path}: {size} bytes long; a GGUF header has {MIN_BYTES}" + _guess(data[:10]))
    cursor = Cursor(data, size, path)
    version = _version(cursor)
    n_tensors = _count(cursor, "n_tensors", MAX_TENSORS)
    n_kv = _count(cursor, "n_kv", MAX_KV)
    _fits(cursor, n_tensors * _MIN_TENSOR_BYTES + n_kv * _MIN_KV_BYTES, n_tensors, n_kv)
    return cursor, version, n_tensors, n_kv


def _version(cursor: Cursor) -> int:
    cursor.need(4, "magic")
    magic = cursor.data[0:4]
    if magic != b"GGUF":
        raise FormatError(
            f"{cursor.path}: not a GGUF file: it starts with {magic!r}, must be b'GGUF'"
            + _guess(bytes(cursor.data[:10]))
        )
    cursor.pos = 4
    version: int = cursor.number("I", "version")
    if version and version & 0xFFFF == 0:  # llama.cpp's test: no version will reach 65536
        raise UnsupportedError(f"{cursor.path}: version: a big-endian file; get the usual, little-endian one")
    if version == 1:
        raise UnsupportedError(f"{cursor.path}: version: 1 (of August 2023); 2 and 3 are read: convert the model again")
    if version not in (2, 3):
        raise UnsupportedError(f"{cursor.path}: version: {version}; 2 and 3 are read (byte offset 4)")
    return version


def _guess(start: bytes) -> str:
    if start[8:10] == b'{"':
        return f"; this looks like {_SAFETENSORS}"
    return f"; this looks like {_OTHER_FILES[start[:4]]}" if start[:4] in _OTHER_FILES else ""


def _count(cursor: Cursor, field: str, limit: int) -> int:
    count: int = cursor.number("Q", field)
    if count > limit:
        raise cursor.fail(field, f"{count}, the limit is {limit}", cursor.pos - 8)
    return count


def _fits(cursor: Cursor, least: int, n_tensors: int, n_kv: int) -> None:
    if cursor.pos + least > cursor.size:
        what = f"{n_tensors} tensors and {n_kv} keys take {least} bytes or more, {cursor.size - cursor.pos} are left"
        raise cursor.fail("n_tensors, n_kv", what + "; the file may be truncated: fetch it again", 8)


def _alignment(metadata: Metadata) -> int:
    key = "general.alignment"
    if key not in metadata:
        return DEFAULT_ALIGNMENT
    if metadata.kind(key) != _UINT32:
        raise FormatError(f"{metadata.path}: metadata key {key}: is of type {metadata.describe(key)[0]}, must be u32")
    value: int = metadata[key]
    if not MIN_ALIGNMENT <= value <= MAX_ALIGNMENT or value & (value - 1):
        limits = f"a power of two from {MIN_ALIGNMENT} to {MAX_ALIGNMENT}"
        raise FormatError(f"{metadata.path}: metadata key {key}: is {value}, must be {limits}")
    return value


def _directory(cursor: Cursor, n_tensors: int, alignment: int) -> dict[str, TensorInfo]:
    """The tensor directory. Data follows it: tensor after tensor in its order, each aligned, without holes."""
    rows: dict[str, tuple[TensorInfo, int]] = {}
    for index in range(n_tensors):
        start = cursor.pos
        info = _tensor(cursor, index)
        if info.name in rows:
            raise cursor.fail(f"tensor {index}", f"the name {info.name!r} occurs twice", start)
        rows[info.name] = info, cursor.pos - 8
    base = _align(cursor.pos, alignment)
    expected, tensors = 0, {}
    for info, field_at in rows.values():
        field = f"tensor {info.name}"
        if info.offset != expected:
            problem = f"data offset {info.offset}, must be {expected}: next in order, aligned to {alignment} bytes"
            raise cursor.fail(field, problem, field_at)
        end = base + info.offset + info.n_bytes
        if end > cursor.size:
            problem = f"data ends at byte {end}, the file at {cursor.size}: it is truncated, fetch it again"
            raise cursor.fail(field, problem, field_at)
        expected = _align(info.offset + info.n_bytes, alignment)
        tensors[info.name] = replace(info, offset=base + info.offset)
    return tensors


def _tensor(cursor: Cursor, index: int) -> TensorInfo:
    """One row of the directory; its offset counts from the start of the data."""
    name = cursor.identifier(f"name of tensor {index}", MAX_NAME)
    field = f"tensor {name}"
    n_dims = cursor.number("I", f"{field}, n_dims")
    if not 1 <= n_dims <= MAX_DIMS:
        raise cursor.fail(field, f"{n_dims} dimensions, must be 1 to {MAX_DIMS}", cursor.pos - 4)
    shape = tuple(cursor.number("q", f"{field}, dimension {axis}") for axis in range(n_dims))
    if min(shape) < 1:
        raise cursor.fail(field, f"shape {list(shape)}: every dimension must be 1 or more", cursor.pos - 8 * n_dims)
    fmt = _format(cursor, field, cursor.number("I", f"{field}, type"))
    if shape[0] % fmt.block:
        problem = f"rows of {shape[0]} elements are no whole blocks of {fmt.block} ({fmt.name})"
        raise cursor.fail(field, problem, cursor.pos - 4)
    offset = cursor.number("Q", f"{field}, offset")
    n_elements = math.prod(shape)
    return TensorInfo(name, fmt, shape, offset, fmt.row_bytes(n_elements), n_elements)


def _format(cursor: Cursor, field: str, type_id: int) -> Format:
    if type_id in BY_ID:
        return BY_ID[type_id]
    if type_id in REMOVED:
        raise cursor.fail(field, f"type {type_id} is {REMOVED[type_id]}", cursor.pos - 4)
    raise cursor.fail(field, f"type {type_id} is unknown; known are {', '.join(FORMATS)}", cursor.pos - 4)


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment

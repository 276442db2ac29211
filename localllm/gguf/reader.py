"""Reads a GGUF file: header, metadata and tensor directory, over a memory map. Tensor data is never touched.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. Everything the file
says is checked against the file's size before it is believed, with Python integers; stricter than llama.cpp where that
costs no real file.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace

from localllm.errors import FileError, FormatError, UnsupportedError
from localllm.gguf.metadata import REQUIRED, Metadata
from localllm.gguf.values import Cursor, Value
from localllm.kernels.formats.table import BY_ID, FORMATS, REMOVED, Format

MAX_KV = 1 << 16
MAX_TENSORS = 1 << 17
MAX_NAME = 63
"""Bytes of a tensor's name: ggml's GGML_MAX_NAME without its NUL."""
MAX_DIMS = 4
MIN_ALIGNMENT, MAX_ALIGNMENT, DEFAULT_ALIGNMENT = 8, 1 << 20, 32
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


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's place in the file. `shape` is in GGML's order: shape[0] (ne0) is the contiguous axis."""

    name: str
    format: Format
    shape: tuple[int, ...]
    offset: int
    """Byte offset from the start of the file."""
    n_bytes: int
    n_elements: int


class GGUFFile:
    """An open GGUF file. Use `open_gguf`; a context manager."""

    def __init__(self, path: str, data: mmap.mmap, fd: int, size: int, split: bool = False) -> None:
        self.path = path
        self.size = size
        self._data: mmap.mmap | None = data
        self._fd = fd
        self._mtime = os.fstat(fd).st_mtime_ns
        cursor = Cursor(data, size, path)
        self.version = _version(cursor)
        n_tensors = _count(cursor, "n_tensors", MAX_TENSORS)
        n_kv = _count(cursor, "n_kv", MAX_KV)
        _fits(cursor, n_tensors * _MIN_TENSOR_BYTES + n_kv * _MIN_KV_BYTES, n_tensors, n_kv)
        self.metadata = Metadata(path)
        self.metadata.read(cursor, n_kv)
        self.alignment = _alignment(self.metadata)
        if not split:
            _refuse_split(self.metadata)
        self.tensors: Mapping[str, TensorInfo] = _directory(cursor, n_tensors, self.alignment)

    def get(self, key: str, kind: type, default: Value = REQUIRED) -> Value:
        """The metadata value of `key` as `kind`: int, float, bool or str. See Metadata.get_typed."""
        return self.metadata.get_typed(key, kind, default)

    def get_array(self, key: str, element: type, default: Value = REQUIRED) -> Value:
        """The metadata array of `key`, with elements of type `element`. See Metadata.get_array."""
        return self.metadata.get_array(key, element, default)

    def map(self) -> memoryview:
        """The whole file, read-only. The mapping lives until `close`, and then as long as a view of it does."""
        if self._data is None:
            raise FileError(f"{self.path}: is closed")
        return memoryview(self._data)

    def check_unchanged(self) -> None:
        """Raises FileError if the file was written to since it was opened: reading a cut page kills the process."""
        if self._data is None:
            raise FileError(f"{self.path}: is closed")
        now = os.fstat(self._fd)
        if now.st_size != self.size or now.st_mtime_ns != self._mtime:
            raise FileError(f"{self.path}: changed while in use (size {self.size}, now {now.st_size}): load it again")

    @property
    def identity(self) -> tuple[int, ...]:
        """Of the open file: device, inode, size, times of the last write and change in nanoseconds. As long as it is
        the same, so is the content. Raises FileError."""
        self.check_unchanged()
        now = os.fstat(self._fd)
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns

    def duplicate(self) -> int:
        """A descriptor of the same open file, which the caller closes; its offset is shared. Raises FileError."""
        self.check_unchanged()
        return os.dup(self._fd)

    def close(self) -> None:
        """Drops the mapping. Arrays of metadata that were not read yet cannot be read any more. May be called twice."""
        data, self._data = self._data, None
        if data is None:
            return
        os.close(self._fd)
        with contextlib.suppress(BufferError):  # a view is still out: the mapping goes with it
            data.close()

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_gguf(path: str | os.PathLike[str], *, split: bool = False) -> GGUFFile:
    """Opens and checks a GGUF file; reads its metadata and tensor directory, no tensor.

    With `split`, a part of a split model is opened as well. Raises FileError (cannot be read, or is no regular file),
    FormatError (what it says cannot be) or UnsupportedError (a split file, a version or byte order that is not read
    here).
    """
    path = os.fspath(path)
    fd, size = _open_regular(path)
    data = None
    try:
        if size < 24:
            raise FormatError(f"{path}: {size} bytes long; a GGUF header has 24" + _guess(os.read(fd, 4)))
        data = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        return GGUFFile(path, data, fd, size, split)
    except BaseException:
        if data is not None:
            data.close()
        os.close(fd)
        raise


def _open_regular(path: str) -> tuple[int, int]:
    """(descriptor, size). Looks at the kind before opening, which may block on a pipe, and after, as it may change."""
    try:
        _require_regular(path, os.stat(path).st_mode)
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FileError(f"{path}: cannot be opened: {reason}") from None
    status = os.fstat(fd)
    try:
        _require_regular(path, status.st_mode)
    except FileError:
        os.close(fd)
        raise
    return fd, status.st_size


def _require_regular(path: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    raise FileError(f"{path}: is {kinds.get(stat.S_IFMT(mode), 'a device')}, must be a regular file")


def _version(cursor: Cursor) -> int:
    magic = cursor.data[0:4]
    if magic != b"GGUF":
        raise FormatError(f"{cursor.path}: not a GGUF file: it starts with {magic!r}, must be b'GGUF'" + _guess(magic))
    cursor.pos = 4
    version: int = cursor.number("I", "version")
    if version and version & 0xFFFF == 0:  # llama.cpp's test: no version will reach 65536
        raise UnsupportedError(f"{cursor.path}: version: a big-endian file; get the usual, little-endian one")
    if version == 1:
        raise UnsupportedError(f"{cursor.path}: version: 1 (of August 2023); 2 and 3 are read: convert the model again")
    if version not in (2, 3):
        raise UnsupportedError(f"{cursor.path}: version: {version}; 2 and 3 are read (byte offset 4)")
    return version


def _guess(magic: bytes) -> str:
    return f"; this looks like {_OTHER_FILES[magic]}" if magic in _OTHER_FILES else ""


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


def _refuse_split(metadata: Metadata) -> None:
    count = metadata.get_typed("split.count", int, 1)
    if count > 1:
        part = metadata.get_typed("split.no", int, 0) + 1
        raise UnsupportedError(
            f"{metadata.path}: is part {part} of {count} of a split model: "
            "merge the parts (localllm quantize PART OUT.gguf COPY)"
        )


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

"""Writes GGUF files, whole or not at all, in one file or split into parts."""

from __future__ import annotations

import contextlib
import queue
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from localllm.errors import FormatError
from localllm.gate import header as gate
from localllm.gate.check import Place
from localllm.gguf.split import part_name
from localllm.gguf.values import SCALARS, Kind
from localllm.kernels.formats.table import Format
from localllm.quantize.source import SourceTensor, Typed
from localllm.runtime.files import sync
from localllm.runtime.whole import check_space, written_whole
from localllm.signals import whole

_KINDS = {
    "u8": "UINT8", "i8": "INT8", "u16": "UINT16", "i16": "INT16", "u32": "UINT32", "i32": "INT32", "u64": "UINT64",
    "i64": "INT64", "f32": "FLOAT32", "f64": "FLOAT64", "bool": "BOOL", "str": "STRING", "arr": "ARRAY",
}  # fmt: skip
"""Our name of a type -> gguf's."""
_CODES = {kind.name: kind.code for kind in SCALARS.values()}
_AHEAD = 2
"""Pieces that wait to be written while the next one is computed."""


@dataclass(frozen=True)
class Planned:
    """A tensor to be written: its name, its shape in GGML's order, its format."""

    name: str
    shape: tuple[int, ...]
    format: Format

    @property
    def n_bytes(self) -> int:
        tensor = SourceTensor(self.name, self.shape, self.format.name)
        return self.format.row_bytes(tensor.k) * tensor.n_rows


def shard_paths(path: str, tensors: Sequence[Planned], split_max_size: int = 0) -> list[str]:
    """The files that are written: `path` itself, or parts under llama.cpp's names (llama_split_path)."""
    n = len(_shards(tensors, split_max_size))
    if n == 1:
        return [path]
    stem = path.removesuffix(".gguf")
    return [part_name(stem, part, n) for part in range(1, n + 1)]


def _shards(tensors: Sequence[Planned], split_max_size: int) -> list[list[Planned]]:
    """A part ends before the tensor that would make it larger than `split_max_size` bytes; 0: one part."""
    shards: list[list[Planned]] = [[]]
    size = 0
    for tensor in tensors:
        if split_max_size and shards[-1] and size + tensor.n_bytes > split_max_size:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.n_bytes
    return shards


class _Writer(gguf.GGUFWriter):  # type: ignore[misc]
    """GGUFWriter for files whose names are given. Arrays are packed at once, since a vocabulary takes it a second;
    empty ones, too, which it does not write."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(None, "")
        self._names = names
        self.tensors: list[dict[str, Any]] = [{} for _ in names]

    def format_shard_names(self, path: Path) -> list[Path]:
        return [Path(name) for name in self._names]

    def add_shard_kv_data(self) -> None:
        """Each part is read by its own alignment: all say it."""
        super().add_shard_kv_data()
        key = "general.alignment"
        for part in self.kv_data[1:] if key in self.kv_data[0] else ():
            part[key] = self.kv_data[0][key]

    def _pack_val(self, val: Any, vtype: gguf.GGUFValueType, add_vtype: bool, sub_type: Any = None) -> bytes:
        if vtype != gguf.GGUFValueType.ARRAY:
            return bytes(super()._pack_val(val, vtype, add_vtype, sub_type))
        return struct.pack("<IIQ", vtype, sub_type, len(val)) + _packed(val, SCALARS.get(sub_type))


def _packed(items: Sequence[Any], kind: Kind | None) -> bytes:
    """The elements of an array: numbers of a kind, or strings."""
    if kind is not None:
        return struct.pack(f"<{len(items)}{kind.code}", *items)
    texts = [item.encode() for item in items]
    return b"".join(part for text in texts for part in (struct.pack("<Q", len(text)), text))


class Output:
    """The open files: tensors are written in their order, each in pieces of whole rows."""

    def __init__(self, files: Sequence[Any], shards: Sequence[Sequence[Planned]], alignment: int) -> None:
        self._alignment = alignment
        self._todo = [
            (file, tensor, tensor.n_bytes) for file, shard in zip(files, shards, strict=True) for tensor in shard
        ]
        self._pieces: queue.Queue[tuple[Any, bytes | np.ndarray] | None] = queue.Queue(_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write_pieces, name="gguf writer", daemon=True)
        self._thread.start()

    def write(self, name: str, data: np.ndarray) -> None:
        """Bytes of the next tensor, or of a part of it. The array must not be changed any more. Raises OSError."""
        file, tensor, left = self._todo[0]
        if tensor.name != name or data.nbytes > left:
            raise ValueError(f"{data.nbytes} bytes of tensor {name}: next are {left} of {tensor.name}")
        self._put(file, data)
        if data.nbytes < left:
            self._todo[0] = file, tensor, left - data.nbytes
            return
        self._put(file, bytes(-tensor.n_bytes % self._alignment))
        self._todo.pop(0)

    def finish(self) -> None:
        """Waits until all is written. Raises OSError; ValueError where a tensor is missing."""
        self.stop()
        if self._error:
            raise self._error
        if self._todo:
            raise ValueError(f"tensor {self._todo[0][1].name}: was not written")

    def abandon(self) -> None:
        """Ends the thread; pieces that wait are not written. May be called after `finish`."""
        self._error = self._error or ValueError("the file was abandoned")
        self.stop()

    @whole  # Thread.join of Python 3.11 may raise RuntimeError where a signal interrupts it
    def stop(self) -> None:
        """Ends the thread once it has written what waits. May be called twice."""
        self._pieces.put(None)
        self._thread.join()

    def _put(self, file: Any, data: bytes | np.ndarray) -> None:
        if self._error:
            raise self._error
        self._pieces.put((file, data))

    def _write_pieces(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error:
                continue
            try:
                file, data = piece
                file.write(data if isinstance(data, bytes) else np.ascontiguousarray(data).data.cast("B"))
            except BaseException as error:
                self._error = error


@contextlib.contextmanager
def written(
    path: str, metadata: Mapping[str, Typed], tensors: Sequence[Planned], split_max_size: int = 0
) -> Iterator[Output]:
    """Files that take their places when the block ends and all tensors were written; otherwise nothing is left.

    Raises FileError where there is not enough space, or the system refuses to write.
    """
    shards = _shards(tensors, split_max_size)
    paths = shard_paths(path, tensors, split_max_size)
    check_space(path, sum(tensor.n_bytes for tensor in tensors))
    with contextlib.ExitStack() as stack:
        writer = _Writer([stack.enter_context(written_whole(shard)) for shard in paths])
        stack.callback(writer.close)
        _add(writer, metadata, shards)
        writer.write_header_to_file(Path(path))
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for file in writer.fout:
            writer.write_padding(file, file.tell())
        output = Output(writer.fout, shards, writer.data_alignment)
        stack.callback(output.abandon)
        yield output
        output.finish()
        for file in writer.fout:
            file.flush()
            sync(file.fileno())


def _add(writer: _Writer, metadata: Mapping[str, Typed], shards: Sequence[Sequence[Planned]]) -> None:
    for key, entry in metadata.items():
        kind, element = (_KINDS.get(name) for name in (entry.type, entry.element))
        if kind is None or (kind == "ARRAY") != (element is not None):
            raise FormatError(f"metadata key {key}: type {entry.type} {entry.element} cannot be written")
        _check_value(key, entry)
        writer.add_key_value(key, entry.value, gguf.GGUFValueType[kind], element and gguf.GGUFValueType[element])
    if "general.alignment" in metadata:
        writer.data_alignment = _alignment(metadata["general.alignment"])
    for infos, shard in zip(writer.tensors, shards, strict=True):
        for tensor in shard:
            # The number in place of GGMLQuantizationType, which lacks the newest formats.
            infos[tensor.name] = gguf.gguf_writer.TensorInfo(tensor.shape[::-1], tensor.format.id, tensor.n_bytes)


def _check_value(key: str, entry: Typed) -> None:
    """Raises FormatError for numbers out of a type's range, and for text that is no Unicode: JSON may hold halves of
    surrogate pairs."""
    name, values = (entry.element, entry.value) if entry.type == "arr" else (entry.type, [entry.value])
    try:
        if name == "str":
            "".join(values).encode()
        else:
            struct.pack(f"<{len(values)}{_CODES[name]}", *values)
    except (UnicodeEncodeError, OverflowError, struct.error):
        what = f"{entry.value!r:.60}" if entry.type != "arr" else "an element"
        raise FormatError(f"metadata key {key}: {what} cannot be written as {name}") from None


def _alignment(entry: Typed) -> int:
    place = Place("", "metadata key general.alignment")
    gate.alignment_type(place, entry.type)
    return gate.alignment(place, entry.value)

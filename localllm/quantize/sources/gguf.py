"""GGUF files as a source, in one file or split into many."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from localllm.errors import UnsupportedError
from localllm.gguf.reader import GGUFFile, open_gguf
from localllm.kernels.formats.table import Format
from localllm.quantize.source import Decode, Source, SourceTensor, Typed

_AHEAD = 1 << 26


class GGUFSource(Source):
    """An open GGUF file, or all parts of a split one."""

    def __init__(self, file: GGUFFile, decode: Decode | None, allow_requantize: bool) -> None:
        self.path = file.path
        self._file = file
        self._decode = decode
        self._allow_requantize = allow_requantize

    @property
    def files(self) -> list[str]:
        return list(self._file.paths)

    @cached_property
    def metadata(self) -> Mapping[str, Typed]:
        """Without the split.* keys: the file that is written is cut anew."""
        values = self._file.metadata
        return {key: self._typed(key) for key in values if not key.startswith("split.")}

    @cached_property
    def tensors(self) -> Mapping[str, SourceTensor]:
        return {name: SourceTensor(name, info.shape, info.format.name) for name, info in self._file.tensors.items()}

    def read(self, name: str) -> np.ndarray:
        shape = self._file.tensors[name].shape
        return self.rows(name, 0, self.tensors[name].n_rows).reshape(shape[::-1])

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        info, path = self._file.tensors[name], self._path(name)
        k = info.shape[0]
        raw = self._raw(name)[start:stop]
        _read_ahead(self._file.map(info.part), info.offset + stop * info.format.row_bytes(k))
        is_float = info.format.name in _FLOATS
        if is_float and (self._decode is None or raw.size < _SMALL or info.format.name in _EXACT):
            return _FLOATS[info.format.name](raw)
        if self._decode is None or not info.format.supported:
            raise UnsupportedError(f"{path}: tensor {name}: {info.format.name} cannot be read as numbers")
        if not self._allow_requantize and not is_float:
            problem = f"is quantized already ({info.format.name}), and would lose more: use the F16, BF16 or F32 file"
            raise UnsupportedError(f"{path}: tensor {name}: {problem}, or --allow-requantize")
        return self._decode(info.format, raw, k)

    def encoded(self, name: str, format: Format) -> np.ndarray | None:
        return self._raw(name) if self._file.tensors[name].format == format else None

    def close(self) -> None:
        self._file.close()

    def _path(self, name: str) -> str:
        """The file that a tensor lies in."""
        return self._file.paths[self._file.tensors[name].part]

    def _raw(self, name: str) -> np.ndarray:
        """uint8 [n_rows, row_bytes]: a view of the mapped file."""
        info = self._file.tensors[name]
        self._file.check_unchanged()
        data = np.frombuffer(self._file.data(info), np.uint8)
        return data.reshape(self.tensors[name].n_rows, info.format.row_bytes(info.shape[0]))

    def _typed(self, key: str) -> Typed:
        values = self._file.metadata
        name, count = values.describe(key)
        if name == "arr":
            raise UnsupportedError(f"{self.path}: metadata key {key}: arrays of arrays are not written")
        return Typed(values[key], name) if count is None else Typed(values[key], "arr", name)


def _read_ahead(mapped: memoryview, offset: int) -> None:
    """Asks for the pages that follow while these are worked on: faults alone read a cold file too slowly."""
    if hasattr(mmap, "MADV_WILLNEED") and isinstance(data := mapped.obj, mmap.mmap):
        start = offset // mmap.PAGESIZE * mmap.PAGESIZE
        if start < len(data):
            data.madvise(mmap.MADV_WILLNEED, start, min(_AHEAD, len(data) - start))


def open_source(path: str, decode: Decode | None = None, allow_requantize: bool = False) -> GGUFSource:
    """Opens a GGUF file; of a split one, any part stands for all. Raises LocalllmError."""
    return GGUFSource(open_gguf(path), decode, allow_requantize)


_FLOATS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "F32": lambda raw: raw.view("<f4").astype(np.float32),
    "F16": lambda raw: raw.view("<f2").astype(np.float32),
    "BF16": lambda raw: (raw.view("<u2").astype(np.uint32) << 16).view(np.float32),
    "F64": lambda raw: raw.view("<f8").astype(np.float32),
}
"""Formats whose numbers NumPy reads: uint8 [n, row_bytes] -> float32 [n, k]."""
_EXACT = ("F32", "F64")
_SMALL = 1 << 16
"""Bytes below which the threads of a decoder are not worth their start."""

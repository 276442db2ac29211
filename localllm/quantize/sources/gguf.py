"""GGUF files as a source, in one file or split into many."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from localllm.errors import FileError, FormatError, UnsupportedError
from localllm.gguf.reader import GGUFFile, TensorInfo, open_gguf
from localllm.kernels.formats.table import Format
from localllm.quantize.source import Decode, Source, SourceTensor, Typed

_AHEAD = 1 << 26
_PART = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
"""llama_split_path of llama.cpp's llama.cpp: names of the parts of a split model."""


class GGUFSource(Source):
    """An open GGUF file, or all parts of a split one."""

    def __init__(self, files: list[GGUFFile], decode: Decode | None, allow_requantize: bool) -> None:
        self.path = files[0].path
        self._files = files
        self._decode = decode
        self._allow_requantize = allow_requantize
        self._infos: dict[str, tuple[GGUFFile, TensorInfo]] = {}
        for file in files:
            for name, info in file.tensors.items():
                if name in self._infos:
                    raise FormatError(f"{file.path}: tensor {name}: also stands in {self._infos[name][0].path}")
                self._infos[name] = file, info

    @property
    def files(self) -> list[str]:
        return [file.path for file in self._files]

    @cached_property
    def metadata(self) -> Mapping[str, Typed]:
        """Without the split.* keys: the file that is written is cut anew."""
        values = self._files[0].metadata
        return {key: self._typed(key) for key in values if not key.startswith("split.")}

    @cached_property
    def tensors(self) -> Mapping[str, SourceTensor]:
        return {name: SourceTensor(name, info.shape, info.format.name) for name, (_, info) in self._infos.items()}

    def read(self, name: str) -> np.ndarray:
        shape = self._infos[name][1].shape
        return self.rows(name, 0, self.tensors[name].n_rows).reshape(shape[::-1])

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        file, info = self._infos[name]
        k = info.shape[0]
        raw = self._raw(name)[start:stop]
        _read_ahead(file, info.offset + stop * info.format.row_bytes(k))
        is_float = info.format.name in _FLOATS
        if is_float and (self._decode is None or raw.size < _SMALL or info.format.name in _EXACT):
            return _FLOATS[info.format.name](raw)
        if self._decode is None or not info.format.supported:
            raise UnsupportedError(f"{file.path}: tensor {name}: {info.format.name} cannot be read as numbers")
        if not self._allow_requantize and not is_float:
            problem = f"is quantized already ({info.format.name}), and would lose more: use the F16, BF16 or F32 file"
            raise UnsupportedError(f"{file.path}: tensor {name}: {problem}, or --allow-requantize")
        return self._decode(info.format, raw, k)

    def encoded(self, name: str, format: Format) -> np.ndarray | None:
        return self._raw(name) if self._infos[name][1].format == format else None

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _raw(self, name: str) -> np.ndarray:
        """uint8 [n_rows, row_bytes]: a view of the mapped file."""
        file, info = self._infos[name]
        file.check_unchanged()
        data = np.frombuffer(file.map(), np.uint8, info.n_bytes, info.offset)
        return data.reshape(self.tensors[name].n_rows, info.format.row_bytes(info.shape[0]))

    def _typed(self, key: str) -> Typed:
        values = self._files[0].metadata
        name, count = values.describe(key)
        if name == "arr":
            raise UnsupportedError(f"{self.path}: metadata key {key}: arrays of arrays are not written")
        return Typed(values[key], name) if count is None else Typed(values[key], "arr", name)


def _read_ahead(file: GGUFFile, offset: int) -> None:
    """Asks for the pages that follow while these are worked on: faults alone read a cold file too slowly."""
    if hasattr(mmap, "MADV_WILLNEED") and isinstance(data := file.map().obj, mmap.mmap):
        start = offset // mmap.PAGESIZE * mmap.PAGESIZE
        if start < file.size:
            data.madvise(mmap.MADV_WILLNEED, start, min(_AHEAD, file.size - start))


def open_source(path: str, decode: Decode | None = None, allow_requantize: bool = False) -> GGUFSource:
    """Opens a GGUF file; of a split one, any part stands for all. Raises LocalllmError."""
    files: list[GGUFFile] = []
    try:
        files.append(open_gguf(path, split=True))
        count: int = files[0].get("split.count", int, 1)
        if count > 1:
            files = _parts(files, count)
        return GGUFSource(files, decode, allow_requantize)
    except BaseException:
        for file in files:
            file.close()
        raise


def _parts(opened: list[GGUFFile], count: int) -> list[GGUFFile]:
    """All parts in their order. `opened` holds the part that was named, and then all that are open."""
    named = opened[0]
    match = _PART.fullmatch(named.path)
    if match is None or int(match["count"]) != count:
        name = f"-{named.get('split.no', int) + 1:05d}-of-{count:05d}.gguf"
        raise FileError(f"{named.path}: is one of {count} parts of a model: its name must end in {name}")
    paths = [f"{match['stem']}-{part + 1:05d}-of-{count:05d}.gguf" for part in range(count)]
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        raise FileError(f"{missing[0]}: is missing: {named.path} is one of {count} parts of a model")
    opened.extend(open_gguf(path, split=True) for path in paths if path != named.path)
    files = sorted(opened, key=lambda file: paths.index(file.path))
    for part, file in enumerate(files):
        stated = file.get("split.no", int), file.get("split.count", int)
        if stated != (part, count):
            raise FormatError(f"{file.path}: split.no, split.count: are {stated}, must be {(part, count)} by its name")
    total = sum(len(file.tensors) for file in files)
    expected: int = named.get("split.tensors.count", int, total)
    if expected != total:
        raise FormatError(f"{named.path}: split.tensors.count: is {expected}, the parts hold {total} tensors")
    return files


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

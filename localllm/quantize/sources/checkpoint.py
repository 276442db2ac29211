"""The safetensors files of a Hugging Face folder: which tensors they hold, and their bytes through a memory map.

The `safetensors` package checks each header (lengths, offsets, overlaps, holes); the bytes are read here, since NumPy
has no BF16. Format: https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.errors import FileError, FormatError, UnsupportedError
from localllm.quantize.sources.json_file import read_json, said

if TYPE_CHECKING:
    import numpy as np

INDEX = "model.safetensors.index.json"
_MAX_HEADER = 100 << 20
"""The package's own limit."""
_SIZES = {
    "F64": 8,
    "I64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U8": 1,
    "F8_E4M3": 1,
    "I8": 1,
    "BOOL": 1,
}
_NUMPY = {
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "u1",
    "F8_E4M3": "u1",
    "I8": "i1",
}
FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Stored:
    """A tensor's place. shape in the file's order: rows first; offset from the start of its file, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    n_bytes: int


class Checkpoint:
    """Tensors by their names in the files. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tensors: dict[str, Stored] = {}
        self._maps: dict[Path, mmap.mmap] = {}
        index = _index(folder)
        for file in sorted(set(index.values())) if index is not None else _files(folder):
            for stored in _header(file):
                if stored.name in self.tensors:
                    raise FormatError(f"{file}: the tensor {stored.name} is in {self.tensors[stored.name].file}, too")
                self.tensors[stored.name] = stored
        if index is not None:
            _compare(folder / INDEX, index, self.tensors)

    def view(self, name: str, *dtypes: str) -> np.ndarray:
        """The tensor as it is stored, BF16 as uint16, read-only. Raises FormatError if its type is none of `dtypes`."""
        import numpy as np

        stored = self.stored(name, *dtypes)
        data = np.frombuffer(self._map(stored.file), np.uint8, stored.n_bytes, stored.offset)
        return data.view(_NUMPY[stored.dtype]).reshape(stored.shape)

    def stored(self, name: str, *dtypes: str) -> Stored:
        """Where a tensor is. Raises FormatError where it is missing or its type is none of `dtypes`."""
        stored = self.tensors.get(name)
        if stored is None:
            raise FormatError(f"{self.folder}: the tensor {name} is missing")
        if stored.dtype not in dtypes:
            raise FormatError(f"{stored.file}: tensor {name}: is {stored.dtype}, must be {' or '.join(dtypes)}")
        return stored

    def _map(self, file: Path) -> mmap.mmap:
        if file not in self._maps:
            try:
                with file.open("rb") as opened:
                    self._maps[file] = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise FileError(f"{file}: cannot be mapped: {error}") from None
        return self._maps[file]

    def close(self) -> None:
        """Drops the mappings. May be called twice."""
        while self._maps:
            with contextlib.suppress(BufferError):  # a view is still out: the mapping goes with it
                self._maps.popitem()[1].close()


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("model*.safetensors"))
    if files:
        return files
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")) or any(folder.glob("*.pt")):
        problem = "holds weights as Python pickles, which can run code and are not read: save it as safetensors"
        raise UnsupportedError(f"{folder}: {problem}")
    raise FileError(f"{folder}: holds no model*.safetensors: download the weights, too")


def _index(folder: Path) -> Mapping[str, Path] | None:
    """Tensor -> file, where the folder has an index. Its files are names in the folder, never a way out of it."""
    path = folder / INDEX
    if not path.is_file():
        return None
    weights = read_json(path).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise FormatError(f"{path}: key weight_map: must be an object from tensors to files")
    for tensor, name in weights.items():
        if not isinstance(name, str) or name != Path(name).name or not name.endswith(".safetensors") or "\0" in name:
            problem = f"is {name!r:.80}, must be the name of a safetensors file in this folder"
            raise FormatError(f"{path}: weight_map of {tensor[:80]}: {problem}")
    missing = sorted({name for name in weights.values() if not (folder / name).is_file()})
    if missing:
        raise FileError(f"{folder / missing[0]}: is missing, as {INDEX} names it ({len(missing)} files are): fetch it")
    return {tensor: folder / name for tensor, name in weights.items()}


def _compare(path: Path, index: Mapping[str, Path], tensors: Mapping[str, Stored]) -> None:
    for name, file in index.items():
        if name not in tensors or tensors[name].file != file:
            raise FormatError(f"{path}: the tensor {name[:80]} should be in {file.name}, which does not hold it")


def _header(file: Path) -> list[Stored]:
    """The tensors of one file."""
    _check(file)
    with file.open("rb") as opened:
        n_header = int.from_bytes(opened.read(8), "little")
        if n_header > _MAX_HEADER:
            raise FormatError(f"{file}: a header of {n_header} bytes, the limit is {_MAX_HEADER}")
        header = json.loads(opened.read(n_header))
    size = file.stat().st_size
    return [_stored(file, size, 8 + n_header, *item) for item in header.items() if item[0] != "__metadata__"]


def _check(file: Path) -> None:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UnsupportedError(
            "reading Hugging Face folders needs safetensors: pip install 'localllm[convert]'"
        ) from None
    if not file.is_file():  # a pipe would be waited for
        raise FileError(f"{file}: must be a regular file")
    try:
        with safe_open(file, framework="np"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        problem = f"not a whole safetensors file: {said(error)}; fetch it again"
        raise FormatError(f"{file}: {problem}") from None


def _stored(file: Path, size: int, base: int, name: str, entry: dict[str, object]) -> Stored:
    dtype, shape, offsets = str(entry["dtype"]), entry["shape"], entry["data_offsets"]
    assert isinstance(shape, list)  # the package has parsed this header
    assert isinstance(offsets, list)
    start, end = offsets
    if dtype in _SIZES and (end - start != math.prod(shape) * _SIZES[dtype] or base + end > size):
        raise FormatError(f"{file}: tensor {name[:80]}: its bytes {start} to {end} do not hold {shape} × {dtype}")
    return Stored(name, dtype, tuple(shape), file, base + start, end - start)

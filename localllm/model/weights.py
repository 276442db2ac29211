"""Weights: validated views of the mapped file. Nothing else forms an address from what a file says.

Shapes are in GGML's order, (k, n): n rows of k elements that follow each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from localllm.gate import directory, tensors
from localllm.gate.check import Place
from localllm.gguf.header import TensorInfo
from localllm.gguf.reader import GGUFFile
from localllm.gguf.scales import not_finite
from localllm.kernels.formats.table import FORMATS, Format
from localllm.kernels.thread import SCRATCH_BYTES
from localllm.runtime.arrays import SLACK, padded

_MAX_K = (SCRATCH_BYTES - 8192) // (4 * 4)
"""Elements of a row: of four rows of floats kernels.matmul_float makes f32 in a thread's scratch memory, beside sums;
kernels.matvec puts up to eight of activations there in another order, two bytes an element."""
_OF_MATRICES = tuple(fmt.name for fmt in FORMATS.values() if fmt.supported)
_OF_SMALL_MATRICES = tuple(name for name in _OF_MATRICES if name not in ("Q1_0", "Q2_0"))
"""What the package gguf dequantizes."""
_FLOATS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "F32": lambda raw: raw.view("<f4"),
    "F16": lambda raw: raw.view("<f2"),
    "BF16": lambda raw: (raw.view("<u2").astype(np.uint32) << 16).view(np.float32),
}
"""Formats of vectors: from their bytes to numbers."""
_ONES = {"F32": b"\0\0\x80\x3f", "F16": b"\0\x3c", "BF16": b"\x80\x3f"}
_OTHER_USES = re.compile(r"(cls|v|mm|a)\.|blk\.\d+\.(vis_|nextn\.)|(cls|vis)_")
"""Tensors of heads and towers for other uses than text: left alone."""


@dataclass(frozen=True)
class Weight:
    """A matrix of n rows of k elements, or a vector (n = 1). `address` stays valid as long as the Weights do."""

    name: str
    format: Format
    k: int
    n: int
    row_bytes: int
    address: int

    def rows(self, first: int, n: int) -> Weight:
        """Rows `first` to `first` + n: a matrix that was fused with others."""
        name = f"{self.name} from row {first}"
        return Weight(name, self.format, self.k, n, self.row_bytes, self.address + first * self.row_bytes)

    def part(self, first: int, n: int) -> Weight:
        """Elements `first` to `first` + n of a vector in F32."""
        return Weight(f"{self.name} from {first}", self.format, n, 1, 4 * n, self.address + 4 * first)

    @property
    def module(self) -> str:
        """The format's name in kernel keys."""
        return self.format.module


class Weights:
    """The tensors of an open file, each handed out once its shape and format are checked.

    Of a file of which only the header is at hand, addresses are no memory, and vectors hold ones: good for counting.
    """

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        file.watch()
        # The arrays pin the mappings: close() of the file lets them live on until this object goes.
        self._parts = [np.frombuffer(file.map(part), np.uint8) for part in range(len(file.headers) * file.has_data)]
        self._used: set[str] = set()
        self._left: set[str] = set()
        self._copies: dict[str, np.ndarray] = {}
        self._integers: list[np.ndarray] = []

    @property
    def used_bytes(self) -> int:
        """Of the tensors that were handed out."""
        return sum(self.file.tensors[name].n_bytes for name in self._used)

    def has(self, name: str) -> bool:
        return name in self.file.tensors and name not in self._left

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape, by which a caller chooses how to read it; (0,) where the file has no such tensor."""
        return tuple(self.file.tensors[name].shape) if self.has(name) else (0,)

    def matrix(self, name: str, k: int, n: int) -> Weight:
        """The matrix of this name, of shape (k, n). Raises FormatError or UnsupportedError naming the tensor."""
        return self._matrix(name, (k, n))

    def matrices(self, name: str, k: int, n: int, count: int) -> Weight:
        """`count` matrices of shape (k, n) that follow each other, as one of count * n rows."""
        return self._matrix(name, (k, n, count))

    def _matrix(self, name: str, shape: tuple[int, ...]) -> Weight:
        info, place = self._info(name, shape), self._place(name)
        k, n = shape[0], math.prod(shape[1:])
        tensors.format_of_role(place, info.format.name, _OF_MATRICES)
        tensors.row_length(place, k, _MAX_K, info.format.name)
        row_bytes, header = info.format.row_bytes(k), self.file.headers[info.part]
        directory.data_end(place._replace(path=header.path), info.offset + n * row_bytes, header.size)
        start = int(self._parts[info.part].ctypes.data) if self._parts else 0
        return Weight(name, info.format, k, n, row_bytes, start + info.offset)

    def vector(self, name: str, *shape: int) -> Weight:
        """The vector (or small array) of this name as f32 [n]; one in another format is copied."""
        info = self._info(name, shape)
        n = math.prod(shape)
        if name not in self._copies:
            tensors.format_of_role(self._place(name), info.format.name, tuple(_FLOATS), "a vector in ")
            self._copies[name] = self._floats(info)
        return Weight(name, FORMATS["F32"], n, 1, 4 * n, int(self._copies[name].ctypes.data))

    def _floats(self, info: TensorInfo) -> np.ndarray:
        """f32 [n]: in place, if it lies well there. Kernels load whole vectors, and the file may end with the tensor,
        where there is no memory to load."""
        raw = self._raw(info)
        has_slack = info.offset + info.n_bytes + SLACK <= self.file.headers[info.part].size
        if info.format.name == "F32" and info.offset % 4 == 0 and has_slack:
            return raw.view("<f4")
        return _with_slack(_FLOATS[info.format.name](raw.copy()))

    def values(self, name: str, *shape: int) -> np.ndarray:
        """A vector's elements, float32 [n]."""
        self.vector(name, *shape)
        return self._copies[name]

    def dequantized(self, name: str, k: int, n: int) -> np.ndarray:
        """A small matrix's elements, float32 [n, k], whatever its format."""
        info = self._info(name, (k, n))
        if info.format.name in _FLOATS:
            return self.values(name, k, n).reshape(n, k)
        from gguf import GGMLQuantizationType, quants

        tensors.format_of_role(self._place(name), info.format.name, _OF_SMALL_MATRICES, "a small matrix in ")
        raw = self._raw(info).reshape(n, -1)
        return np.asarray(quants.dequantize(raw, GGMLQuantizationType[info.format.name]), np.float32)

    def constant(self, name: str, values: np.ndarray) -> Weight:
        """A vector that is not the file's, f32; it lives as long as the weights do. One name has one
        value: blocks share it."""
        key = f"constant {name}"
        made = _with_slack(values)
        kept = self._copies.setdefault(key, made)
        if not np.array_equal(kept, made, equal_nan=True):
            raise ValueError(f"the constant {name!r} was made before, with other values")
        return Weight(name, FORMATS["F32"], kept.size, 1, 4 * kept.size, int(kept.ctypes.data))

    def optional(self, name: str, *shape: int) -> Weight | None:
        """A vector that the file may lack."""
        return self.vector(name, *shape) if self.has(name) else None

    def integers(self, name: str, k: int, n: int, high: int) -> Weight:
        """An array of int32, n rows of k elements from 0 up to `high`, excluded: they are used as numbers of rows."""
        info, place = self._info(name, (k, n)), self._place(name)
        tensors.format_of_role(place, info.format.name, ("I32",))
        values = self._raw(info).copy().view("<i4")
        tensors.indices(place, int(values.min()), int(values.max()), high)
        self._integers.append(values)
        return Weight(name, info.format, k, n, 4 * k, int(values.ctypes.data))

    def damage(self, values: Iterable[object], prefix: str) -> str:
        """The first tensor with a number that is NaN or infinite, in words, or "": of those that lie at the addresses
        among `values`, then of those whose names begin with `prefix` (empty: those of no layer)."""
        near = [n for n in self.file.tensors if (n.startswith(prefix) if prefix else not n.startswith("blk."))]
        for name in dict.fromkeys([*(self._at(v) for v in values if isinstance(v, int)), *near]):
            if name and (n := not_finite(self.file, self.file.tensors[name])):
                what = "scales" if self.file.tensors[name].format.block > 1 else "values"
                return f"tensor {name} holds {n} {what} that are NaN or infinite"
        return ""

    def _at(self, address: int) -> str:
        """The tensor at an address, or of which a copy lies there; ""."""
        for name, copy in self._copies.items():
            if name in self.file.tensors and 0 <= address - copy.ctypes.data < copy.nbytes:
                return name
        for part, raw in enumerate(self._parts):
            if not 0 <= (offset := address - raw.ctypes.data) < raw.nbytes:
                continue
            for name, info in self.file.tensors.items():
                if info.part == part and info.offset <= offset < info.offset + info.n_bytes:
                    return name
        return ""

    def leave(self, pattern: str) -> None:
        """Pass over tensors whose names match a regular expression, as if the file did not have them."""
        self._left.update(name for name in self.file.tensors if re.fullmatch(pattern, name))

    def _raw(self, info: TensorInfo) -> np.ndarray:
        """uint8 [n_bytes]: a view."""
        if not self._parts:
            return _stand_in(self._place(info.name), info)
        return self._parts[info.part][info.offset : info.offset + info.n_bytes]

    def _info(self, name: str, shape: tuple[int, ...]) -> TensorInfo:
        info = tensors.present(self._place(name), self.file.tensors.get(name))
        tensors.shape(self._place(name), info.shape, shape)
        self._used.add(name)
        return info

    def _place(self, name: str) -> Place:
        return Place(self.file.path, f"tensor {name}")

    def check_all_used(self) -> list[str]:
        """Names of tensors for other uses, or that were passed over. Raises UnsupportedError for a tensor of the model
        that nothing consumed."""
        rest = [name for name in self.file.tensors if name not in self._used]
        unknown = [name for name in rest if name not in self._left and not _OTHER_USES.match(name)]
        tensors.all_used(self.file.path, unknown)
        return rest


def _stand_in(place: Place, info: TensorInfo) -> np.ndarray:
    """Elements of 1, or zeros in formats of blocks and integers, in the place of what is not at hand, uint8 [n_bytes]:
    sizes can be counted by them."""
    tensors.stand_in(place, info.n_bytes)
    one = np.frombuffer(_ONES.get(info.format.name, b"\0"), np.uint8)
    return np.tile(one, info.n_bytes // one.size)


def _with_slack(values: np.ndarray) -> np.ndarray:
    """A copy, f32 [n]."""
    copy = padded(values.size)
    copy[:] = values.ravel()
    return copy

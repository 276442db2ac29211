"""Second moments of matrices' inputs, on disk: a GGUF file beside the importance matrix.

For each input that is stored there are STORED.hessian, the mean of x xᵀ over its rows, and STORED.hessian.held_back,
the same over rows that no method may look at before it is judged: float32, the upper triangle row after row, of
k * (k + 1) / 2 elements, and one such row an expert. STORED.count and STORED.count.held_back (float32 [n_experts or 1])
say how many rows these were. Matrices that read the same input share what is stored: `hessians.names` lists all
tensors, `hessians.stored` for each of them the one whose name it is stored under.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from localllm.errors import FormatError
from localllm.gguf.reader import GGUFFile, open_gguf
from localllm.quantize.imatrix import IDENTITY, floats

NAMES, STORED = "hessians.names", "hessians.stored"
PARTS = ("", ".held_back")


def beside(path: str | os.PathLike[str]) -> str:
    """The file of Hessians that belongs to an importance matrix: calib.gguf's is calib.hessians.gguf."""
    root, extension = os.path.splitext(os.fspath(path))
    return f"{root}.hessians{extension or '.gguf'}"


def triangle(k: int) -> int:
    """Elements of an upper triangle."""
    return k * (k + 1) // 2


def packed(h: np.ndarray) -> np.ndarray:
    """The upper triangle of float32 [k, k], row after row: float32 [k * (k + 1) / 2]. The lower one is not read."""
    k = len(h)
    out, at = np.empty(triangle(k), np.float32), 0
    for i in range(k):
        out[at : at + k - i] = h[i, i:]
        at += k - i
    return out


def unpacked(upper: np.ndarray, k: int) -> np.ndarray:
    """The inverse of `packed`: symmetric, float32 [k, k]."""
    h, at = np.empty((k, k), np.float32), 0
    for i in range(k):
        h[i, i:] = h[i:, i] = upper[at : at + k - i]
        at += k - i
    return h


@dataclass(frozen=True)
class Stored:
    """One input: the tensors that read it, elements of a row, and experts that are counted apart (1: none)."""

    names: Sequence[str]
    k: int
    n_experts: int = 1

    @property
    def n_bytes(self) -> int:
        return 2 * self.n_experts * (triangle(self.k) + 1) * 4


class HessianWriter:
    """Writes a file, input after input, in the order that was announced. `close` ends it."""

    def __init__(self, path: str, stored: Sequence[Stored], identity: str) -> None:
        """path: a temporary file (see `written_whole`); identity: of the importance matrix (Imatrix.identity)."""
        import gguf

        self._writer = gguf.GGUFWriter(path, "")
        self._writer.kv_data[0].pop("general.architecture", None)
        self._writer.add_string("general.type", "hessians")
        self._writer.add_string(IDENTITY, identity)
        self._writer.add_array(NAMES, [name for one in stored for name in one.names])
        self._writer.add_array(STORED, [one.names[0] for one in stored for _ in one.names])
        f32 = np.dtype(np.float32)
        for one in stored:
            n = one.n_experts
            for part in PARTS:
                size = triangle(one.k)
                self._writer.add_tensor_info(f"{one.names[0]}.hessian{part}", (n, size), f32, 4 * n * size)
                self._writer.add_tensor_info(f"{one.names[0]}.count{part}", (n,), f32, 4 * n)
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_ti_data_to_file()

    def add(self, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """The next input's sums of x xᵀ, float32 [n_experts, k, k], and counts, [n_experts]: of the rows that methods
        may use, and of those held back."""
        for sums, counts in parts:
            upper = np.stack([packed(h) for h in sums])
            upper /= np.maximum(counts, 1).astype(np.float32)[:, None]
            self._writer.write_tensor_data(upper)
            self._writer.write_tensor_data(counts.astype(np.float32))

    def close(self) -> None:
        self._writer.close()


class Hessians:
    """An open file. A context manager."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises FileError or FormatError."""
        self._file: GGUFFile = open_gguf(path)
        try:
            self._stored = self._names()
        except BaseException:
            self._file.close()
            raise

    def _names(self) -> Mapping[str, str]:
        file = self._file
        if file.get("general.type", str, "") != "hessians":
            raise FormatError(
                f"{file.path}: metadata key general.type: is not 'hessians': make it by localllm calibrate"
            )
        names, stored = file.get_array(NAMES, str), file.get_array(STORED, str)
        if len(names) != len(stored):
            raise FormatError(f"{file.path}: metadata key {STORED}: has {len(stored)} names, must have {len(names)}")
        return dict(zip(names, stored, strict=True))

    @property
    def identity(self) -> str:
        return str(self._file.get(IDENTITY, str, ""))

    @property
    def names(self) -> list[str]:
        return list(self._stored)

    def shape(self, name: str) -> tuple[int, int] | None:
        """Matrices of a tensor (experts), and k; None for a tensor that has no Hessian. Raises FormatError."""
        if name not in self._stored:
            return None
        stored, held_back = (self._file.tensors.get(f"{self._stored[name]}.hessian{part}") for part in PARTS)
        n_elements, *n = stored.shape if stored else (0,)
        k = (math.isqrt(8 * n_elements + 1) - 1) // 2
        if not k or triangle(k) != n_elements or len(n) > 1:
            raise FormatError(f"{self._file.path}: tensor {self._stored[name]}.hessian: is missing, or no triangle")
        if held_back is None or stored is None or held_back.shape != stored.shape:
            raise FormatError(
                f"{self._file.path}: tensor {self._stored[name]}.hessian.held_back: is missing, or not as large"
            )
        return (n[0] if n else 1), k

    def hessian(self, name: str, held_back: bool = False, matrix: int | None = None) -> np.ndarray | None:
        """The mean of x xᵀ, float32 [k, k], or [n_expert, k, k]; None for a tensor that has none. matrix: of this one
        alone, float32 [k, k], the rest is not read."""
        shape = self.shape(name)
        if shape is None:
            return None
        n, k = shape
        tensor = f"{self._stored[name]}.hessian{PARTS[held_back]}"
        upper = floats(self._file, tensor, matrix if n > 1 else None)
        if not np.isfinite(upper).all():
            raise FormatError(f"{self._file.path}: tensor {tensor}: has elements that are no finite numbers")
        if matrix is not None or n == 1:
            return unpacked(upper.ravel(), k)
        return np.stack([unpacked(row, k) for row in upper])

    def counts(self, name: str, held_back: bool = False) -> np.ndarray | None:
        """Rows that `hessian` is the mean of, int64 [n_expert or 1]."""
        if name not in self._stored:
            return None
        counts = floats(self._file, f"{self._stored[name]}.count{PARTS[held_back]}").ravel()
        return np.asarray(np.rint(counts), np.int64)

    def close(self) -> None:
        self._file.close()

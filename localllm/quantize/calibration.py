"""What calibration text tells of a model: for each matrix, which columns of its input are large, and how they go
together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

import numpy as np

from localllm.errors import FormatError
from localllm.quantize.hessians import Hessians, beside
from localllm.quantize.imatrix import Imatrix, read_imatrix


class Calibration:
    """An importance matrix, and Hessians where there are any. Tensors go by their GGUF names (blk.3.ffn_down.weight).
    A context manager."""

    def __init__(self, imatrix: Imatrix, hessians: Hessians | None = None) -> None:
        self.imatrix, self._hessians = imatrix, hessians

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a file of `localllm calibrate`, or an importance matrix of llama.cpp (GGUF or .dat), with the Hessians
        that lie beside it (calib.gguf: calib.hessians.gguf). Raises FileError or FormatError."""
        imatrix, more = read_imatrix(path), beside(path)
        hessians = Hessians(more) if os.path.exists(more) else None
        if hessians and hessians.identity != imatrix.identity:
            hessians.close()
            raise FormatError(
                f"{more}: belongs to another calibration than {os.fspath(path)}: make it again, or delete it"
            )
        return cls(imatrix, hessians)

    def __iter__(self) -> Iterator[str]:
        """Names of the tensors that have an importance."""
        return iter(self.imatrix.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.imatrix.entries

    def counts(self, name: str) -> np.ndarray | None:
        """Rows of input that were seen: int64 [1], or [n_expert]. (Of a .dat file: calls.)"""
        entry = self.imatrix.entries.get(name)
        return entry.counts if entry else None

    def importance(self, name: str, k: int | None = None) -> np.ndarray | None:
        """Mean squares of the columns of a matrix's input, float32 [k], or [n_expert, k] for a tensor of several
        matrices; None for a tensor that the file does not have. Ones for an expert that no row went to.

        k: elements of a row of the tensor. It is needed where one count stands for several matrices (experts in a .dat
        file, the matrices of heads). Raises ValueError for a k that does not fit.
        """
        entry = self.imatrix.entries.get(name)
        if entry is None:
            return None
        rows = entry.importance(k)
        return rows[0] if len(rows) == 1 else rows

    @property
    def has_hessians(self) -> bool:
        return self._hessians is not None

    def hessian_shape(self, name: str) -> tuple[int, int] | None:
        """How many matrices have Hessians of their own (experts), and k; None where there is none."""
        return self._hessians.shape(name) if self._hessians else None

    def hessian(self, name: str, held_back: bool = False, matrix: int | None = None) -> np.ndarray | None:
        """The mean of x xᵀ over a matrix's input rows x: float32 [k, k], or [n_expert, k, k]; None where there is none.
        It is read from disk. held_back: over every eighth chunk of the text, which the other one does not contain.
        matrix: that of one expert alone, float32 [k, k]."""
        return self._hessians.hessian(name, held_back, matrix) if self._hessians else None

    def close(self) -> None:
        if self._hessians:
            self._hessians.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

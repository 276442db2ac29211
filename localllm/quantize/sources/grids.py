"""Matrices of whole codes with scales and zero points a group of columns, as GPTQ, AWQ and their like store them.

An element is scale * (code - zero). Where groups are whole blocks of a GGUF format, the codes fit and the scales are
float16, the format's blocks hold the same numbers: each code goes to its place, and nothing is rounded again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from localllm.errors import FormatError

if TYPE_CHECKING:
    from localllm.quantize.sources.weights import Index

_BLOCK = 32
"""Elements of a block, in all formats below."""


@dataclass
class Matrix:
    """A packed matrix [n, k] of codes of `bits` bits. Rows are asked for by their numbers, in any order."""

    shape: tuple[int, int]
    bits: int
    group: int
    """Columns that share a scale."""
    codes: Callable[[np.ndarray], np.ndarray]
    """Rows -> uint8 [n, k]."""
    scales: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    """Rows -> float32 and int32 [n, groups]: scales and zero points."""
    columns: Callable[[], np.ndarray | None]
    """int64 [k]: the group of each column; None where groups are ranges of columns."""

    def read(self, rows: Index) -> np.ndarray:
        """float32 [n, k]. Products of codes and float16 scales are exact."""
        at = np.arange(self.shape[0])[rows]
        groups = self.columns()
        if groups is None:
            groups = np.arange(self.shape[1]) // self.group
        scales, zeros = self.scales(at)
        x = self.codes(at).astype(np.float32)
        x -= zeros.astype(np.float32)[:, groups]
        x *= scales[:, groups]
        return x

    def encoded(self, format: str, rows: Index) -> np.ndarray | None:
        """uint8 [n, row_bytes] where the format holds the whole matrix exactly, else None."""
        if not self.fits(format):
            return None
        at = np.arange(self.shape[0])[rows]
        n_blocks = self.shape[1] // _BLOCK
        d, zero = (np.repeat(x, self.group // _BLOCK, axis=1)[:, :n_blocks] for x in self.scales(at))
        return blocks(format, self.codes(at).reshape(len(at), n_blocks, _BLOCK), d, zero).reshape(len(at), -1)

    def fits(self, format: str) -> bool:
        """Whether the format holds the matrix exactly; reads scales and zero points."""
        n, k = self.shape
        if format not in _FORMATS or k % _BLOCK or self.group % _BLOCK or self.columns() is not None:
            return False
        scales, zeros = self.scales(np.arange(n))
        return _is_float16(scales) and _FORMATS[format].holds(1 << self.bits, scales, zeros)

    def nearest(self) -> str:
        """The smallest GGUF format that holds the matrix exactly; F16 where none does."""
        return next((format for format in _FORMATS if self.fits(format)), "F16")


def grouped(path: object, module: str, k: int, group: int) -> tuple[int, int]:
    """(columns that share a scale, groups of a row) of a matrix of k columns, where a configuration says `group`: -1
    or 0 is one group for all. Raises FormatError for a matrix that has no columns."""
    if k < 1:
        raise FormatError(f"{path}: the matrix {module[:120]} has no columns")
    group = k if group in (-1, 0) else group
    return group, -(-k // group)


def blocks(format: str, codes: np.ndarray, d: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Blocks of Q4_0, Q4_1, Q5_0 or Q8_0 whose elements are d * (code - zero): uint8 [n, blocks, bytes].

    codes: integers [n, blocks, 32], from 0; d: float32 [n, blocks], float16 values; zero: integers [n, blocks].
    """
    return _FORMATS[format].write(codes, d, zero)


def _is_float16(x: np.ndarray) -> bool:
    """Whether float16 holds every value. What is too great for it becomes infinite, and is not equal."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(x.astype(np.float16).astype(np.float32), x))


@dataclass(frozen=True)
class _Writer:
    """A format of 32 elements a block."""

    holds: Callable[[int, np.ndarray, np.ndarray], bool]
    """(number of codes, scales, zeros) -> whether the codes and zero points fit."""
    write: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    """(codes uint8 [n, blocks, 32], d float32, zero int32 [n, blocks]) -> uint8 [n, blocks, bytes]."""


def _f16(x: np.ndarray) -> np.ndarray:
    """float32 [n, blocks] -> uint8 [n, blocks, 2]."""
    return x.astype("<f2").view(np.uint8).reshape(*x.shape, 2)


def _nibbles(codes: np.ndarray) -> np.ndarray:
    """Elements j and j + 16 share byte j: uint8 [n, blocks, 16]."""
    narrow = codes.astype(np.uint8)
    return narrow[..., :16] & 15 | narrow[..., 16:] << 4


def _q4_0(codes: np.ndarray, d: np.ndarray, zero: np.ndarray) -> np.ndarray:
    return np.concatenate([_f16(d), _nibbles(codes)], axis=2)


def _q4_1(codes: np.ndarray, d: np.ndarray, zero: np.ndarray) -> np.ndarray:
    return np.concatenate([_f16(d), _f16(-zero * d), _nibbles(codes)], axis=2)


def _q5_0(codes: np.ndarray, d: np.ndarray, zero: np.ndarray) -> np.ndarray:
    moved = (codes + 16 - zero[..., None]).astype(np.uint8)
    high = np.packbits(moved >> 4, axis=2, bitorder="little")
    return np.concatenate([_f16(d), high, _nibbles(moved)], axis=2)


def _q8_0(codes: np.ndarray, d: np.ndarray, zero: np.ndarray) -> np.ndarray:
    return np.concatenate([_f16(d), (codes - zero[..., None]).astype(np.int8).view(np.uint8)], axis=2)


def _within(low: int, high: int) -> Callable[[int, np.ndarray, np.ndarray], bool]:
    """Whether code - zero is from low to high, for every code."""
    return lambda n, scales, zeros: bool(-zeros.max() >= low and n - 1 - zeros.min() <= high)


_FORMATS: dict[str, _Writer] = {
    "Q4_0": _Writer(lambda n, scales, zeros: n == 16 and bool((zeros == 8).all()), _q4_0),
    "Q4_1": _Writer(lambda n, scales, zeros: n == 16 and _is_float16(zeros * scales), _q4_1),
    "Q5_0": _Writer(_within(-16, 15), _q5_0),
    "Q8_0": _Writer(_within(-128, 127), _q8_0),
}
"""From the smallest to the largest. Q5_0 holds what has zero points, where Q4_1's minimum would be rounded."""

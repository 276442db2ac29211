"""Weights that lie on a grid already: checkpoints of quantization-aware training (QAT), stored as floats.

Such a block of 32 elements is d * q with whole codes q, rounded to BF16 or F16. Plain rounding searches the least
squared error and may take another d; here the d is sought whose products, rounded as the checkpoint's were, are the
very weights. Blocks that have none are left to another method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from localllm.quantize.methods import Method
from localllm.quantize.sources.grids import blocks

if TYPE_CHECKING:
    from localllm.kernels.formats.table import Format
    from localllm.quantize.source import Source, SourceTensor

LIMITS = {"Q4_0": (-8, 7), "Q5_0": (-16, 15)}
"""Formats whose elements are d * q: the codes q that they have."""
_BLOCK = 32
_AT_ONCE = 1 << 15
"""Blocks that are searched together: bounds the memory of the search."""


@dataclass(frozen=True)
class _Precision:
    """What weights were rounded to. bits: of the significand, the first one included."""

    bits: int
    round: Callable[[np.ndarray], np.ndarray]


def _to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 -> the nearest BF16, ties to even, as float32."""
    bits = x.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def _to_f16(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(np.float32)


_PRECISIONS = (_Precision(8, _to_bf16), _Precision(11, _to_f16), _Precision(24, lambda x: x))


def keep_grid(x: np.ndarray, format: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The codes and scales of blocks that lie on a grid.

    x: float32 [n, k], finite, k whole blocks of 32. Returns exact bool [n, k / 32], codes int32 [n, k / 32, 32] and
    d float32 [n, k / 32], float16 values; both are of use where `exact` is true.
    """
    n = len(x)
    precision = next(p for p in _PRECISIONS if np.array_equal(p.round(x), x))
    rows = np.ascontiguousarray(x, np.float32).reshape(-1, _BLOCK)
    exact = np.zeros(len(rows), bool)
    codes = np.zeros(rows.shape, np.int32)
    d = np.zeros(len(rows), np.float32)
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        exact[part], codes[part], d[part] = _search(rows[part], *LIMITS[format], precision)
    return exact.reshape(n, -1), codes.reshape(n, -1, _BLOCK), d.reshape(n, -1)


def _search(x: np.ndarray, low: int, high: int, precision: _Precision) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for blocks [m, 32]: every code that the largest element could have is tried, the outermost first."""
    most = x[np.arange(len(x)), np.abs(x).argmax(axis=1)]
    exact, codes, d = most == 0, np.zeros(x.shape, np.int32), np.zeros(len(x), np.float32)
    for code in sorted((c for c in range(low, high + 1) if c), key=lambda c: (-abs(c), c)):
        left = np.flatnonzero(~exact)
        if not left.size:
            break
        found, q, scale = _try(x[left], most[left] / np.float32(code), low, high, precision)
        at = left[found]
        exact[at], codes[at], d[at] = True, q[found], scale[found]
    return exact, codes, d


def _try(
    x: np.ndarray, guess: np.ndarray, low: int, high: int, precision: _Precision
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(exact, codes, d) with scales near `guess` [m]: within what every element of a block allows."""
    q = np.clip(np.rint(x / guess[:, None]), low, high)
    size, codes = np.abs(x.astype(np.float64)), np.abs(q)
    significand, exponents = np.frexp(size)
    up = np.ldexp(0.5, exponents - precision.bits)
    down = np.where(significand == 0.5, up / 2, up)  # below a power of two, steps are half as wide
    with np.errstate(divide="ignore", invalid="ignore"):
        least, most = (size - down) / codes, (size + up) / codes
    least = np.where(codes > 0, least, 0.0).max(axis=1)
    most = np.where(codes > 0, most, np.inf).min(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        d = np.copysign((least + most) / 2, guess).astype(np.float16).astype(np.float32)
        exact = (precision.round(d[:, None] * q.astype(np.float32)) == x).all(axis=1)
    return exact, q.astype(np.int32), d


class KeepGrid(Method):
    """Another method, but for blocks that lie on a grid."""

    def __init__(self, other: Method) -> None:
        self._other = other
        self._exact = self._all = 0

    def prepare(self, source: Source, formats: Mapping[str, Format]) -> Source:
        """See Method."""
        return self._other.prepare(source, formats)

    def encode(self, tensor: SourceTensor, x: np.ndarray, format: Format, matrix: int = 0) -> np.ndarray:
        """See Method."""
        if format.name not in LIMITS:
            return self._other.encode(tensor, x, format, matrix)
        exact, codes, d = keep_grid(x, format.name)
        self._exact += int(exact.sum())
        self._all += exact.size
        zero = np.full(d.shape, -LIMITS[format.name][0])
        kept = blocks(format.name, codes + zero[..., None], d, zero)
        if exact.all():
            return kept.reshape(len(x), -1)
        others = self._other.encode(tensor, x, format, matrix).reshape(kept.shape)
        return np.where(exact[..., None], kept, others).reshape(len(x), -1)

    def notes(self) -> list[str]:
        """How many blocks are exact."""
        if not self._all:
            return [
                *self._other.notes(),
                f"--keep-grid: no tensor is written in {' or '.join(LIMITS)}: nothing to keep",
            ]
        share = f"{self._exact:,} of {self._all:,} blocks ({self._exact / self._all:.1%})"
        return [*self._other.notes(), f"--keep-grid: {share} hold the checkpoint's weights exactly"]

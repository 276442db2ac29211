"""Memory that kernels are handed: where it starts, and what may be read behind it."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

ALIGNMENT = 64
"""A cache line, and a vector of the kernels."""
SLACK = 256
"""Bytes behind an array that kernels may read, as they load whole vectors at the end of a row; they neither use nor
write them, and never touch what lies before an array. All that kernels read or write has it, but for two: matrices of
weights, which are read to their last byte and no further, since a file may end with them; and logits, which are the
caller's. tests/kernels/guarded.py holds kernels to this."""


def padded(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array of zeros that starts at a cache line, with SLACK behind it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return _memory(size, SLACK).view(dtype).reshape(shape)


def aligned(n_bytes: int) -> np.ndarray:
    """Zeroed bytes that start at a cache line, and end where they end: what kernels read word by word."""
    return _memory(n_bytes, 0)


def _memory(n_bytes: int, slack: int) -> np.ndarray:
    """uint8 [n_bytes]. Tests lay it between pages that nobody may touch."""
    raw = np.zeros(n_bytes + slack + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n_bytes]

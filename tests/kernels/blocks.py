"""Weights for tests: random bytes of a format, whose scales are as wanted; the ends of their range among them."""

from __future__ import annotations

import numpy as np

from localllm.kernels.formats.table import FORMATS
from localllm.tools.blocks import PLACED as PLACED
from localllm.tools.blocks import SCALES as SCALES
from localllm.tools.blocks import weights as weights
from localllm.tools.blocks import with_scales as with_scales

FINITE_HALVES = np.array([h for h in range(1 << 16) if h & 0x7C00 != 0x7C00], np.uint16)


def any_rows(name: str, n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of bytes: any codes, any finite scales, subnormal ones among them."""
    raw = rng.integers(0, 256, (n, FORMATS[name].row_bytes(k)), np.uint8)
    if name in SCALES:
        with_scales(name, raw, lambda m: rng.choice(FINITE_HALVES, m))
    return raw


def filled_rows(name: str, byte: int, half: int, n: int, k: int) -> np.ndarray:
    """Rows of one byte and one scale."""
    raw = np.full((n, FORMATS[name].row_bytes(k)), byte, np.uint8)
    return with_scales(name, raw, lambda m: np.full(m, half, np.uint16))

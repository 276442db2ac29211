"""Random weights as bytes of a format: any codes, and scales as wanted. For measurements and for tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from localllm.gguf.scales import SCALES as SCALES
from localllm.kernels.formats.table import FORMATS


def _spread(blocks: np.ndarray, at: int, halves: np.ndarray) -> None:
    """IQ1_M: four bits of the number at the top of each of four words."""
    words = blocks[:, at : at + 8].copy().view(np.uint16)
    nibbles = (halves[:, None] >> np.array([0, 4, 8, 12], np.uint16)) & 15
    blocks[:, at : at + 8] = ((words & 0x0FFF) | (nibbles << 12)).astype(np.uint16).view(np.uint8)


def _exponent(blocks: np.ndarray, at: int, halves: np.ndarray) -> None:
    """MXFP4: the power of two alone; zeros and subnormal numbers give the least."""
    exponent = (halves >> 10) & 31
    blocks[:, at] = np.where(exponent == 0, 0, exponent + 113)


def _small_floats(blocks: np.ndarray, at: int, halves: np.ndarray) -> None:
    """NVFP4: four scales, the top seven bits of what lies within the range of an E4M3."""
    small = np.clip(((halves & 0x7FFF).astype(np.int32) - (8 << 10)) >> 7, 0, 0x7E).astype(np.uint8)
    blocks[:, at : at + 4] = small[:, None] + np.minimum(np.arange(4, dtype=np.uint8), 0x7E - small[:, None])


PLACED = {"IQ1_M": _spread, "MXFP4": _exponent, "NVFP4": _small_floats}


def with_scales(name: str, raw: np.ndarray, halves: Callable[[int], np.ndarray]) -> np.ndarray:
    """The rows with every scale and minimum replaced by halves(n), bits of binary16."""
    blocks = raw.reshape(-1, FORMATS[name].bytes)
    for at in SCALES[name]:
        wanted = np.ascontiguousarray(halves(len(blocks)), np.uint16)
        if name in PLACED:
            PLACED[name](blocks, at, wanted)
        else:
            blocks[:, at : at + 2] = wanted.view(np.uint8).reshape(-1, 2)
    return raw


def weights(name: str, n: int, k: int, rng: np.random.Generator, factor: float = 1.0) -> np.ndarray:
    """n rows of k elements as models have them: any codes, scales of one magnitude and either sign, times `factor`.

    Floats are normally distributed: bytes of any value would be subnormal numbers, which no model has.
    """
    if name in SCALES:
        raw = rng.integers(0, 256, (n, FORMATS[name].row_bytes(k)), np.uint8)

        def halves(m: int) -> np.ndarray:
            scales: np.ndarray = rng.uniform(0.005, 0.02, m) * rng.choice([-1, 1], m) * factor
            return scales.astype(np.float16).view(np.uint16)

        return with_scales(name, raw, halves)
    values = rng.standard_normal((n, k)).astype(np.float32) * np.float32(factor)
    if name == "BF16":
        return np.ascontiguousarray((values.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)
    return values.astype({"F32": np.float32, "F16": np.float16}[name]).view(np.uint8)

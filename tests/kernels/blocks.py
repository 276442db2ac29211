"""Weights for tests: random bytes of a format, whose scales are as wanted."""

from __future__ import annotations

import numpy as np

from localllm.kernels.formats.table import FORMATS

SCALES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}  # fmt: skip
"""Where the binary16 numbers of a block stand."""

FINITE_HALVES = np.array([h for h in range(1 << 16) if h & 0x7C00 != 0x7C00], np.uint16)


def with_scales(name: str, raw: np.ndarray, halves) -> np.ndarray:
    """The rows with every scale and minimum replaced by halves(n), bits of binary16."""
    blocks = raw.reshape(-1, FORMATS[name].bytes)
    for at in SCALES[name]:
        blocks[:, at : at + 2] = np.ascontiguousarray(halves(len(blocks)), np.uint16).view(np.uint8).reshape(-1, 2)
    return raw


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


def weights(name: str, n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Rows as models have them: any codes, scales of one magnitude and either sign."""
    if name in SCALES:
        raw = any_rows(name, n, k, rng)
        return with_scales(
            name,
            raw,
            lambda m: (rng.uniform(0.005, 0.02, m) * rng.choice([-1, 1], m)).astype(np.float16).view(np.uint16),
        )
    values = rng.standard_normal((n, k)).astype(np.float32)
    if name == "BF16":
        return np.ascontiguousarray((values.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)
    return values.astype({"F32": np.float32, "F16": np.float16}[name]).view(np.uint8)

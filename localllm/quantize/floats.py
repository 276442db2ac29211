"""Numbers of the formats without blocks, by NumPy: F32, F16, BF16, and F64, which is read alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from localllm.errors import FormatError
from localllm.kernels.formats.table import Format

_RUN = 1 << 16
"""Elements that are rounded to BF16 at once: what stays in the second-level cache."""


def from_bytes(format: Format, raw: np.ndarray) -> np.ndarray:
    """uint8 [n, row_bytes] -> float32 [n, k], for a format of READ."""
    return READ[format.name](raw)


def to_bytes(format: Format, x: np.ndarray) -> np.ndarray:
    """float32 [n, k] -> uint8 [n, row_bytes], rounded to the nearest, ties to even; for a format of WRITTEN.

    Raises FormatError where a value is not finite, or too great for the format.
    """
    x = np.ascontiguousarray(x, np.float32)
    with np.errstate(over="ignore"):
        made = WRITTEN[format.name](x)
    largest = float(np.maximum(x.max(initial=0), -x.min(initial=0)))
    if not largest < _LARGEST[format.name]:
        raise FormatError(f"has a value of {largest:g}, which {format.name} cannot hold")
    return made.view(np.uint8).reshape(len(x), -1)


def _to_bf16(x: np.ndarray) -> np.ndarray:
    bits, out = x.view(np.uint32).reshape(-1), np.empty(x.size, np.uint16)
    for start in range(0, x.size, _RUN):
        run = bits[start : start + _RUN]
        out[start : start + _RUN] = (run + (((run >> 16) & 1) + 0x7FFF)) >> 16
    return out


READ: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "F32": lambda raw: raw.view("<f4").astype(np.float32),
    "F16": lambda raw: raw.view("<f2").astype(np.float32),
    "BF16": lambda raw: (raw.view("<u2").astype(np.uint32) << 16).view(np.float32),
    "F64": lambda raw: raw.view("<f8").astype(np.float32),
}
WRITTEN: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "F32": lambda x: x,
    "F16": lambda x: x.astype(np.float16),
    "BF16": _to_bf16,
}
_LARGEST = {"F32": float("inf"), "F16": 65520.0, "BF16": 3.3961775e38}
"""What would be rounded to infinity."""

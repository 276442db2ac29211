"""Elements as cells of each type have them, by NumPy: see kernels/cells.py."""

from __future__ import annotations

import numpy as np

from tests import reference

QUANTIZED = {"q8_0": reference.q8_0, "q4_0": reference.q4_0}
"""Types whose elements are codes times scales of 32."""
FLOATS = {"f16": np.float16, "f32": np.float32}
TURNED = ("q4_0",)
"""Types whose keys in tiles are turned, see kernels/hadamard.py."""
_BITS = {"q8_0": 8, "q4_0": 4}
_TOGETHER = {"f16": (2,), "f32": (4,), "q8_0": (1, 2), "q4_0": (4, 2)}
"""Bytes of a cell that stay together in a tile: of its elements or codes, and of its scales."""


def known(kv: str, x: np.ndarray) -> np.ndarray:
    """What cells stand for that were made of x [..., n]: float32, or float16 for f16. NaN stays where a group of 32 is
    NaN."""
    if kv in FLOATS:
        return x.astype(FLOATS[kv])
    codes, d = _coded(kv, x)
    return codes * np.repeat(d.astype(np.float32), 32, -1)


def known_keys(kv: str, x: np.ndarray) -> np.ndarray:
    """The same of keys in tiles."""
    if kv not in TURNED:
        return known(kv, x)
    return reference.turned_back(known(kv, reference.turned(x)))


def queries(kv: str, q: np.ndarray, scale: float) -> np.ndarray:
    """Queries [..., n], which are multiplied by `scale`, as their products with cells in tiles take them."""
    if kv not in TURNED:
        return q
    turned = reference.turned(q * np.float32(scale), query=True)
    return reference.turned_back(reference.rounded8(turned), query=True) / scale


def keys_of(kv: str, x: np.ndarray) -> np.ndarray:
    """What is stored of keys in tiles."""
    return reference.turned(x) if kv in TURNED else x


def rows(kv: str, x: np.ndarray) -> np.ndarray:
    """Cells [..., n] as rows: uint8 [..., cell_bytes]."""
    if kv in FLOATS:
        return np.ascontiguousarray(x.astype(FLOATS[kv])).view(np.uint8)
    codes, d = _coded(kv, x)
    return np.concatenate([_packed(kv, codes), np.ascontiguousarray(d).view(np.uint8)], -1)


def lanes(kv: str, n: int) -> np.ndarray:
    """The cell that each byte of a tile of 16 belongs to: uint8 [16 * cell_bytes]. A cell's bytes have the order of its
    row."""
    sizes = _TOGETHER[kv]
    counts = (n,) if kv in FLOATS else (n * _BITS[kv] // 8 // sizes[0], n // 32)
    cells = np.arange(16, dtype=np.uint8)
    return np.concatenate([np.tile(np.repeat(cells, size), m) for size, m in zip(sizes, counts, strict=True)])


def tiles(kv: str, x: np.ndarray) -> np.ndarray:
    """Cells [..., n_cells, n] as tiles of 16: uint8 [..., n_cells / 16, 16 * cell_bytes]."""
    cells, of = rows(kv, keys_of(kv, x)), lanes(kv, x.shape[-1])
    out = np.empty((*x.shape[:-2], x.shape[-2] // 16, len(of)), np.uint8)
    for i in range(16):
        out[..., of == i] = cells[..., i::16, :]
    return out


def _coded(kv: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes, and scales: NaN where the first of a group is."""
    codes, d = QUANTIZED[kv](np.nan_to_num(x))
    d[np.isnan(x[..., ::32])] = np.nan
    return codes, d


def _packed(kv: str, codes: np.ndarray) -> np.ndarray:
    """Bytes of codes; of 4 bits, elements j and j + 16 of 32 share one."""
    if kv == "q8_0":
        return codes.view(np.uint8)
    halves = (codes + 8).astype(np.uint8).reshape(*codes.shape[:-1], -1, 2, 16)
    return (halves[..., 0, :] | halves[..., 1, :] << 4).reshape(*codes.shape[:-1], -1)

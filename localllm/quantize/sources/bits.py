"""Codes of 4 or 8 bits packed into 32-bit words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def unpack_rows(words: np.ndarray, bits: int) -> np.ndarray:
    """int32 [m, n] -> uint8 [m * 32 / bits, n]: a word holds codes of rows, the first in its lowest bits."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)[None, :, None]
    codes = (words.view(np.uint32)[:, None, :] >> shifts) & np.uint32((1 << bits) - 1)
    return codes.astype(np.uint8).reshape(-1, words.shape[1])


def unpack_columns(words: np.ndarray, bits: int) -> np.ndarray:
    """int32 [n, m] -> uint8 [n, m * 32 / bits]: a word holds codes of consecutive columns."""
    words = np.ascontiguousarray(words)
    if bits == 8:
        return words.view(np.uint8)
    raw = words.view(np.uint8)
    return np.stack([raw & 15, raw >> 4], axis=2).reshape(len(raw), -1)


def take_columns(words: np.ndarray, columns: np.ndarray, bits: int, order: Sequence[int] | None = None) -> np.ndarray:
    """uint8 [m, len(columns)] of int32 [m, n]. order: column i of a word's is in place order.index(i) of it."""
    per_word = 32 // bits
    places = np.argsort(order) if order is not None else np.arange(per_word)
    shifts = (places[columns % per_word] * bits).astype(np.uint32)
    codes = words.view(np.uint32)[:, columns // per_word] >> shifts
    narrow: np.ndarray = (codes & np.uint32((1 << bits) - 1)).astype(np.uint8)
    return narrow

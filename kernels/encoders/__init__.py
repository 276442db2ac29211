"""The way back: one file a format, which turns floats into its blocks. Files are named as those of `formats`.

They stand apart from `formats`, so that an edit here does not make the kernels that read a format stale.

A file defines `encode(x, w, out, n, scratch)`: x, w: f32 [n, block], the elements and the weights of their squared
errors (a block's greatest is 1, none is quite 0); out: n blocks; scratch: SCRATCH_BYTES of the thread's own. Nothing
is read past the ends of x and w. It must give the same bits whatever stands in the blocks beside one, since
`rounding.rows` cuts matrices as it likes. Elements are finite.

How weights come from an importance vector: importance * sqrt(SIGMA * mean + x**2), the mean of x**2 over the MEAN
("row", or "block"), as llama.cpp's ggml-quants.c has it; the importance itself where SIGMA is 0. Without importance,
PLAIN says which weights are taken (`rounding.PLAIN`); or a file has a `plain` beside `encode`, for weights of 1: it is
quicker, and reads no w.
"""

from importlib import import_module
from types import ModuleType
from typing import Any


def module(name: str) -> ModuleType:
    """The file of a format, by the name in its row of the table."""
    return import_module(f"{__name__}.{name}")


SCRATCH_BYTES = 256 << 10

OPTIONAL: dict[str, Any] = {"SIGMA": 0.0, "MEAN": "block", "PLAIN": "ones", "plain": None}
"""Names that a file may leave out, and what then holds."""


def optional(encoder: Any, name: str) -> Any:
    """An optional part of a format's file."""
    return getattr(encoder, name, OPTIONAL[name])

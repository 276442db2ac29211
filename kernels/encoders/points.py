"""Grids of the I-formats, laid out for the search in grid.py: constant data that the object code carries.

An entry's levels are the digits of two numbers: the upper half of its elements, the lower half. Entries are sorted by
them, as in the gguf package.
"""

from ..simd import Table

RADIX = 128
"""More than the numbers of the lower half."""
STARTS = 256
"""Bytes before the list: u16 a number of the upper half, its first entry."""


def _digits(name: str):
    """Numbers of the upper and of the lower half of each entry: two arrays; and how many there may be."""
    import numpy as np
    from gguf import quants

    format_ = getattr(quants, name)
    format_.init_grid()
    grid = format_.grid.reshape(-1, format_.grid.shape[-1])
    levels = np.unique(grid)
    digits, half = np.searchsorted(levels, grid), grid.shape[1] // 2
    weights = len(levels) ** np.arange(half)
    return digits[:, half:] @ weights, digits[:, :half] @ weights, len(levels) ** half


def runs(name: str) -> Table:
    """u16 [128]: the first entry of each number of the upper half; u16 [entries]: 64 * the number of the lower half."""

    def data() -> bytes:
        import numpy as np

        upper, lower, count = _digits(name)
        starts = np.full(STARTS // 2, len(upper))
        starts[: count + 1] = np.searchsorted(upper, np.arange(count + 1))
        return np.concatenate([starts, 64 * lower]).astype("<u2").tobytes()

    return Table(f"{name}.runs", data)


def numbers(name: str) -> Table:
    """u32 [upper][128]: the entry of two numbers, 0 where there is none."""

    def data() -> bytes:
        import numpy as np

        upper, lower, count = _digits(name)
        out = np.zeros((count, RADIX), "<u4")
        out[upper, lower] = np.arange(len(upper))
        return out.tobytes()

    return Table(f"{name}.numbers", data)

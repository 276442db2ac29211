"""The grids of the I-formats: tables of four or eight elements, taken from the gguf package when a kernel compiles."""

from ..simd import Lanes, Table, bitcast, gather4, gather8, lane, load, shuffle, splat, u8x64, u16, u32x8, u64
from ..simd.types import Vec

_u64x4 = Vec(u64, 4)
_EACH_TWICE = Lanes(tuple(i // 2 for i in range(16)))


def _grid(name: str, factor: int = 1, plus: int = 0) -> Table:
    """Entries of a format's grid, a byte an element, each times `factor` and `plus` that."""

    def entries() -> bytes:
        import numpy as np
        from gguf import quants

        format_ = getattr(quants, name)
        format_.init_grid()
        return (format_.grid * factor + plus).astype(np.uint8).tobytes()

    return Table(name, entries)


IQ2_XXS, IQ2_XS, IQ2_S = _grid("IQ2_XXS"), _grid("IQ2_XS"), _grid("IQ2_S")
"""256, 512 and 1024 entries of 8 elements, each 8, 25 or 43."""

IQ3_XXS, IQ3_S = _grid("IQ3_XXS"), _grid("IQ3_S")
"""256 and 512 entries of 4 elements: 4, 12, ... 52 and 62; odd numbers to 15."""

IQ1 = _grid("IQ1_S", 8, 9)
"""2048 entries of 8 elements, each 8 * g + 9 for g of -1, 0, 1: in eighths, with room for a delta of one either way."""


def eight_entries(table, v):
    """Entries of eight bytes, picked by the lanes of a u32x8: u8x64."""
    w = bitcast(_u64x4, v)
    a, b, c, d = lane(w, 0), lane(w, 1), lane(w, 2), lane(w, 3)
    low = u64(0xFFFFFFFF)
    return gather8(
        table, a & low, a >> u64(32), b & low, b >> u64(32), c & low, c >> u64(32), d & low, d >> u64(32),
    )  # fmt: skip


def sixteen_entries(table, v):
    """Entries of four bytes, picked by the lanes of a u16x16: u8x64."""
    w = bitcast(_u64x4, v)
    a, b, c, d = lane(w, 0), lane(w, 1), lane(w, 2), lane(w, 3)
    m = u64(0xFFFF)
    return gather4(
        table, a & m, (a >> u64(16)) & m, (a >> u64(32)) & m, a >> u64(48),
        b & m, (b >> u64(16)) & m, (b >> u64(32)) & m, b >> u64(48),
        c & m, (c >> u64(16)) & m, (c >> u64(32)) & m, c >> u64(48),
        d & m, (d >> u64(16)) & m, (d >> u64(32)) & m, d >> u64(48),
    )  # fmt: skip


def eight_at(table, y):
    """Entries of eight bytes, picked by eight u16 at y: u8x64."""
    return gather8(
        table, load(u16, y), load(u16, y + 2), load(u16, y + 4), load(u16, y + 6),
        load(u16, y + 8), load(u16, y + 10), load(u16, y + 12), load(u16, y + 14),
    )  # fmt: skip


def sixteen_at(table, y):
    """Entries of four bytes, picked by sixteen u16 at y: u8x64."""
    return gather4(
        table, load(u16, y), load(u16, y + 2), load(u16, y + 4), load(u16, y + 6),
        load(u16, y + 8), load(u16, y + 10), load(u16, y + 12), load(u16, y + 14),
        load(u16, y + 16), load(u16, y + 18), load(u16, y + 20), load(u16, y + 22),
        load(u16, y + 24), load(u16, y + 26), load(u16, y + 28), load(u16, y + 30),
    )  # fmt: skip


def moved(grid, deltas):
    """Entries of IQ1 an eighth up, or down where the eight's lane of `deltas` (u32x8 of 0 and 1) is 1: u8x64."""
    two = (splat(u32x8, 0) - deltas) & 0x02020202
    return (grid + 1) - bitcast(u8x64, shuffle(_EACH_TWICE, two, two))

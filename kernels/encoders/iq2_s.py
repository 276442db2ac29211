"""IQ2_S from floats: see super_grid.py."""

from ..formats.grids import IQ2_S
from ..simd import load, store, u8, u32
from .super_grid import NUMBERS, SIGNS, Grid, encoder, store_nibbles

SIGMA = 2.0
_GRID = Grid(
    "IQ2_S", IQ2_S, entries=1024, levels=(8.0, 25.0, 43.0), elements=8, group=2, top=15, factor=0.125, size=82,
    fits=(43.0, 38.0, 48.0, 54.0, 60.0, 33.0, 70.0),
)  # fmt: skip


def pack(scratch, d, out):
    store(out, d)
    for e in range(32):
        store(out + 2 + e, u8(load(u32, scratch + NUMBERS + 4 * e)))
        store(out + 34 + e, u8(load(u32, scratch + SIGNS + 4 * e)))
    for i in range(8):
        high = u32(0)
        for n in range(4):
            high = u32(high | ((load(u32, scratch + NUMBERS + 16 * i + 4 * n) >> u32(8)) << u32(2 * n)))
        store(out + 66 + i, u8(high))
    store_nibbles(scratch, 2, 16, out + 74)


encode = encoder(_GRID, pack)

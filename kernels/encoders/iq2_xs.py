"""IQ2_XS from floats: see super_grid.py."""

from ..formats.grids import IQ2_XS
from ..simd import load, store, u16, u32
from .super_grid import NUMBERS, SIGNS, Grid, encoder, store_nibbles

SIGMA = 1.0
_GRID = Grid(
    "IQ2_XS", IQ2_XS, entries=512, levels=(8.0, 25.0, 43.0), elements=8, group=2, top=15, factor=0.125, size=74,
    parity=True, fits=(43.0, 38.0, 48.0, 54.0, 60.0, 33.0, 70.0),
)  # fmt: skip


def pack(scratch, d, out):
    store(out, d)
    for e in range(32):
        entry, signs = load(u32, scratch + NUMBERS + 4 * e), load(u32, scratch + SIGNS + 4 * e)
        store(out + 2 + 2 * e, u16(entry | ((signs & u32(127)) << u32(9))))
    store_nibbles(scratch, 2, 16, out + 66)


encode = encoder(_GRID, pack)

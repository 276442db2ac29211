"""IQ3_S from floats: see super_grid.py."""

from ..formats.grids import IQ3_S
from ..simd import load, store, u8, u32
from .super_grid import NUMBERS, SIGNS, Grid, encoder, store_nibbles

SIGMA = 2.0
_GRID = Grid(
    "IQ3_S", IQ3_S, entries=512, levels=(1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0), elements=4, group=8, top=15,
    factor=1.0, size=110, fits=(15.0, 14.0, 16.0, 13.0, 17.0, 12.0, 18.5),
)  # fmt: skip


def pack(scratch, d, out):
    store(out, d)
    for i in range(8):
        ninths = u32(0)
        for n in range(8):
            entry = load(u32, scratch + NUMBERS + 32 * i + 4 * n)
            store(out + 2 + 8 * i + n, u8(entry))
            ninths = u32(ninths | ((entry >> u32(8)) << u32(n)))
        store(out + 66 + i, u8(ninths))
    for i in range(32):
        low, high = load(u32, scratch + SIGNS + 8 * i), load(u32, scratch + SIGNS + 8 * i + 4)
        store(out + 74 + i, u8(low | (high << u32(4))))
    store_nibbles(scratch, 8, 8, out + 106)


encode = encoder(_GRID, pack)

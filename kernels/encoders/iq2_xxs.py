"""IQ2_XXS from floats: see super_grid.py."""

from ..formats.grids import IQ2_XXS
from ..simd import load, store, u8, u32
from .super_grid import NUMBERS, Grid, encoder, signs_and_scale

SIGMA = 1.0
_GRID = Grid(
    "IQ2_XXS", IQ2_XXS, entries=256, levels=(8.0, 25.0, 43.0), elements=8, group=4, top=15, factor=0.125, size=66,
    parity=True, fits=(43.0, 38.0, 48.0, 54.0, 60.0, 33.0, 70.0),
)  # fmt: skip


def pack(scratch, d, out):
    store(out, d)
    for group in range(8):
        for i in range(4):
            store(out + 2 + 8 * group + i, u8(load(u32, scratch + NUMBERS + 16 * group + 4 * i)))
        store(out + 6 + 8 * group, signs_and_scale(scratch, group, 8))


encode = encoder(_GRID, pack)

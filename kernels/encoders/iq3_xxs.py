"""IQ3_XXS from floats: see super_grid.py."""

from ..formats.grids import IQ3_XXS
from ..simd import load, store, u8, u32
from .super_grid import NUMBERS, Grid, encoder, signs_and_scale

SIGMA = 2.0
_GRID = Grid(
    "IQ3_XXS", IQ3_XXS, entries=256, levels=(4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0), elements=4, group=8,
    top=15, factor=0.25, size=98, parity=True, fits=(62.0, 57.0, 67.0, 52.0, 72.0, 46.0, 78.0),
)  # fmt: skip


def pack(scratch, d, out):
    store(out, d)
    for e in range(64):
        store(out + 2 + e, u8(load(u32, scratch + NUMBERS + 4 * e)))
    for group in range(8):
        store(out + 66 + 4 * group, signs_and_scale(scratch, group, 4))


encode = encoder(_GRID, pack)

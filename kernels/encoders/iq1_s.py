"""IQ1_S from floats: see super_grid.py."""

from ..formats.grids import IQ1
from ..simd import f32, i64, load, store, u8, u16, u32
from .super_grid import DELTAS, NUMBERS, SCALES, Grid, encoder

SIGMA = 2.0
_GRID = Grid(
    "IQ1_S", IQ1, entries=2048, levels=(-1.0, 0.0, 1.0), elements=8, group=4, top=7, factor=1.0, size=50, step=0.125,
    base=-1.125, signed=True, delta=0.125, fits=(1.0, 1.4, 1.8, 2.2, 2.7, 3.3),
    tries=1,
)  # fmt: skip


def pack(scratch, d, out):
    store(out, d)
    for group in range(8):
        scale = u32(i64(load(f32, scratch + SCALES + 16 * group)))
        high = u32(scale << u32(12))
        if load(f32, scratch + DELTAS + 16 * group) < f32(0.0):
            high = u32(high | u32(0x8000))
        for i in range(4):
            entry = load(u32, scratch + NUMBERS + 16 * group + 4 * i)
            store(out + 2 + 4 * group + i, u8(entry))
            high = u32(high | ((entry >> u32(8)) << u32(3 * i)))
        store(out + 34 + 2 * group, u16(high))


encode = encoder(_GRID, pack)

"""IQ1_M from floats: see super_grid.py."""

from ..formats.grids import IQ1
from ..simd import f32, i64, load, store, u8, u16, u32
from .super_grid import DELTAS, NUMBERS, SCALES, Grid, encoder

SIGMA = 2.0
_GRID = Grid(
    "IQ1_S", IQ1, entries=2048, levels=(-1.0, 0.0, 1.0), elements=8, group=2, top=7, factor=1.0, size=56, step=0.125,
    base=-1.125, signed=True, delta=0.125, shared=False, fits=(1.0, 1.4, 1.8, 2.2, 2.7, 3.3),
    tries=1,
)  # fmt: skip


def upper(scratch, e):
    """The upper bits of an entry's number, and its delta: 4 bits."""
    bits = u32(load(u32, scratch + NUMBERS + 4 * e) >> u32(8))
    if load(f32, scratch + DELTAS + 4 * e) < f32(0.0):
        bits = u32(bits | u32(8))
    return bits


def pack(scratch, d, out):
    for e in range(32):
        store(out + e, u8(load(u32, scratch + NUMBERS + 4 * e)))
    for i in range(16):
        store(out + 32 + i, u8(upper(scratch, 2 * i) | (upper(scratch, 2 * i + 1) << u32(4))))
    for i in range(4):
        bits = u32(((u32(d) >> u32(4 * i)) & u32(15)) << u32(12))
        for n in range(4):
            bits = u32(bits | (u32(i64(load(f32, scratch + SCALES + 32 * i + 8 * n))) << u32(3 * n)))
        store(out + 48 + 2 * i, u16(bits))


encode = encoder(_GRID, pack)

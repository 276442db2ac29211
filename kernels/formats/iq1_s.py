"""IQ1_S: eights of ternary elements from a grid, moved by an eighth, in super-blocks of 8 groups of 32 elements.

byte   0  d   binary16
       2  qs  32 bytes: the low bits of the numbers that pick grid entries
      34  qh  8 times 16 bits, one a group: four times the upper three bits of a number, 3 bits of scale, 1 of delta

element of group g = d * (2 * scale[g] + 1) * (grid + 1/8), or - 1/8 where the group's delta bit is set
(50 bytes; `block_iq1_s` of ggml-common.h). Codes count eighths.
"""

from ..simd import (
    Const,
    Lanes,
    bitcast,
    cast,
    constant,
    f32,
    i16x8,
    i16x16,
    load,
    shuffle,
    splat,
    store,
    u8x8,
    u8x32,
    u16x8,
    u16x32,
    u32,
    u32x8,
)
from .bits import half
from .grids import IQ1, eight_at, eight_entries, moved

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 50, 32, 9, 0, 18
_EACH_FOUR_TIMES = Lanes(tuple(i // 4 for i in range(32)))
_TO_BIT_13 = Const(u16x32, (1 << 13, 1 << 10, 1 << 7, 1 << 4) * 8)
_THREES = Const(u32x8, (0, 3, 6, 9, 16, 19, 22, 25))
_DELTAS = Const(u32x8, (15,) * 4 + (31,) * 4)
_EACH_TWICE = Lanes(tuple(i // 2 for i in range(16)))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    h = splat(u32x8, load(u32, p + 34 + 4 * run))
    high = (h >> constant(_THREES)) & 7
    grid = eight_entries(IQ1, cast(u32x8, load(u8x8, p + 2 + 8 * run)) | (high << 8))
    return moved(grid, (h >> constant(_DELTAS)) & 1)


def put_numbers(p, y):
    """See matvec_grids."""
    v = load(u16x8, p + 34)
    high = ((shuffle(_EACH_FOUR_TIMES, v, v) * constant(_TO_BIT_13)) >> 5) & 0x700
    store(y, cast(u16x32, load(u8x32, p + 2)) | high)


def entries(p, y, run):
    """See matvec_grids."""
    return eight_at(IQ1, y + 16 * run)


def offsets(p):
    """See matvec_grids. The grid's is 9; a group's delta moves it."""
    v = load(i16x8, p + 34)
    return (shuffle(_EACH_TWICE, v, v) >> 15 << 1) - 8


def d(p):
    return f32(half(p) * f32(0.125))


def dmin(p):
    return d(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    v = load(u16x8, p + 34)
    return (bitcast(i16x16, shuffle(_EACH_TWICE, v, v) >> 12) & 7) * 2 + 1


def minimums(p):
    return scales(p)

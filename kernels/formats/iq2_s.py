"""IQ2_S: eights of elements from a grid, in super-blocks of 16 groups of 16 (82 bytes; `block_iq2_s` of ggml-common.h).

byte   0  d       binary16
       2  qs      32 bytes: the low bits of the numbers that pick grid entries
      34  signs   256 bits, one an element
      66  qh      8 bytes: pair n of byte j holds the upper two bits of number 4 * j + n
      74  scales  16 nibbles, low ones first

element of group g = d / 8 * (2 * scale[g] + 1) * grid, or less than nothing where its sign is set
"""

from ..simd import (
    Const,
    Lanes,
    cast,
    constant,
    f32,
    load,
    shuffle,
    splat,
    store,
    u8x8,
    u8x32,
    u16,
    u16x8,
    u16x32,
    u32,
    u32x8,
    u64,
)
from .bits import half, nibble_pairs, signed
from .grids import IQ2_S, eight_at, eight_entries

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 82, 16, 43, 0, 86
_EACH_FOUR_TIMES = Lanes(tuple(i // 4 for i in range(32)))
_TO_BIT_8 = Const(u16x32, (256, 64, 16, 4) * 8)
_PAIRS = Const(u32x8, tuple(2 * i for i in range(8)))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    high = splat(u32x8, u32(load(u16, p + 66 + 2 * run)) << u32(8)) >> constant(_PAIRS)
    grid = eight_entries(IQ2_S, cast(u32x8, load(u8x8, p + 2 + 8 * run)) | (high & 0x300))
    return signed(grid, load(u64, p + 34 + 8 * run), OFFSET)


def put_numbers(p, y):
    """See matvec_grids."""
    v = cast(u16x8, load(u8x8, p + 66))
    high = (shuffle(_EACH_FOUR_TIMES, v, v) * constant(_TO_BIT_8)) & 0x300
    store(y, cast(u16x32, load(u8x32, p + 2)) | high)


def entries(p, y, run):
    """See matvec_grids."""
    return eight_at(IQ2_S, y + 16 * run)


def signs(p):
    """See matvec_grids."""
    return load(u32x8, p + 34)


def d(p):
    return f32(half(p) * f32(0.125))


def dmin(p):
    return d(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    return nibble_pairs(load(u64, p + 74)) * 2 + 1


def minimums(p):
    return scales(p)

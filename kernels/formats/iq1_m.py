"""IQ1_M: eights of ternary elements from a grid, moved by an eighth, in super-blocks of 16 groups of 16 elements.

byte   0  qs      32 bytes: the low bits of the numbers that pick grid entries
      32  qh      32 nibbles, low ones first, one an eight: the upper three bits of its number, and its delta bit
      48  scales  4 times 16 bits: four times 3 bits of scale, and a quarter of the bits of d, a binary16

element of group g = d * (2 * scale[g] + 1) * (grid + 1/8), or - 1/8 where the eight's delta bit is set
(56 bytes; `block_iq1_m` of ggml-common.h). Codes count eighths.
"""

from ..simd import (
    Const,
    Lanes,
    bitcast,
    cast,
    constant,
    f32,
    from_half,
    i16x16,
    load,
    pick16,
    shuffle,
    splat,
    store,
    u8x8,
    u8x16,
    u8x32,
    u16,
    u16x4,
    u16x16,
    u16x32,
    u32,
    u32x8,
    u32x16,
    u64,
)
from .bits import eight_copies
from .grids import IQ1, eight_at, eight_entries, moved

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 56, 16, 9, 0, 18
_EACH_EIGHT_TIMES = Lanes(tuple(i // 8 for i in range(64)))
_NIBBLES = Const(u32x8, tuple(4 * i for i in range(8)))
_EACH_FOUR_TIMES = Lanes(tuple(i // 4 for i in range(16)))
_THREES = Const(u32x16, (0, 3, 6, 9) * 4)


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    nibbles = splat(u32x8, load(u32, p + 32 + 4 * run)) >> constant(_NIBBLES)
    grid = eight_entries(IQ1, cast(u32x8, load(u8x8, p + 8 * run)) | ((nibbles & 7) << 8))
    return moved(grid, (nibbles >> 3) & 1)


def put_numbers(p, y):
    """See matvec_grids. Behind them: what each eight is moved by, i8 [32]."""
    v = cast(u16x16, load(u8x16, p + 32))
    nibbles = bitcast(u8x32, v | (v << 4))
    store(y, cast(u16x32, load(u8x32, p)) | (cast(u16x32, nibbles & 7) << 8))
    v = bitcast(u16x16, nibbles & 8) >> 2
    store(y + 64, splat(u8x32, 1) - bitcast(u8x32, v))


def entries(p, y, run):
    """See matvec_grids."""
    return eight_at(IQ1, y + 16 * run) + pick16(_EACH_EIGHT_TIMES, eight_copies(y + 64 + 8 * run))


def offsets(p):
    """See matvec_grids."""
    return splat(i16x16, -9)


def d(p):
    v = load(u64, p + 48)
    low = ((v >> u64(12)) & u64(0xF)) | ((v >> u64(24)) & u64(0xF0))
    high = ((v >> u64(36)) & u64(0xF00)) | ((v >> u64(48)) & u64(0xF000))
    return f32(from_half(u16(low | high)) * f32(0.125))


def dmin(p):
    return d(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    v = load(u16x4, p + 48)
    return (cast(i16x16, cast(u32x16, shuffle(_EACH_FOUR_TIMES, v, v)) >> constant(_THREES)) & 7) * 2 + 1


def minimums(p):
    return scales(p)

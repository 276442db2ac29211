"""IQ3_S: fours of elements from a grid, in super-blocks of 8 groups of 32 (110 bytes; `block_iq3_s` of ggml-common.h).

byte    0  d       binary16
        2  qs      64 bytes: the low bits of the numbers that pick grid entries
       66  qh      64 bits: the ninth bit of each number
       74  signs   256 bits, one an element
      106  scales  8 nibbles, low ones first

element of group g = d * (2 * scale[g] + 1) * grid, or less than nothing where its sign is set
"""

from ..simd import (
    Const,
    Lanes,
    cast,
    constant,
    less,
    load,
    mask64,
    select,
    shuffle,
    splat,
    store,
    u8x16,
    u8x64,
    u16,
    u16x16,
    u32,
    u32x8,
    u64,
)
from .bits import half, nibbles_twice, signed
from .grids import IQ3_S, sixteen_at, sixteen_entries

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 110, 32, 15, 0, 30
_FIRST_PAIRS, _LAST_PAIRS = (Lanes(tuple(first + i // 2 + 64 * (i % 2) for i in range(64))) for first in (0, 32))
_BITS = Const(u16x16, tuple(1 << i for i in range(16)))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    low = cast(u16x16, load(u8x16, p + 2 + 16 * run))
    ninths = splat(u16x16, load(u16, p + 66 + 2 * run)) & constant(_BITS)
    numbers = select(less(splat(u16x16, 0), ninths), low | 0x100, low)
    grid = sixteen_entries(IQ3_S, numbers)
    return signed(grid, load(u64, p + 74 + 8 * run), OFFSET)


def put_numbers(p, y):
    """See matvec_grids."""
    low, ninths = load(u8x64, p + 2), select(mask64(load(u64, p + 66)), splat(u8x64, 1), splat(u8x64, 0))
    store(y, shuffle(_FIRST_PAIRS, low, ninths))
    store(y + 64, shuffle(_LAST_PAIRS, low, ninths))


def entries(p, y, run):
    """See matvec_grids."""
    return sixteen_at(IQ3_S, y + 32 * run)


def signs(p):
    """See matvec_grids."""
    return load(u32x8, p + 74)


def d(p):
    return half(p)


def dmin(p):
    return half(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    return nibbles_twice(load(u32, p + 106)) * 2 + 1


def minimums(p):
    return scales(p)

"""IQ3_S: fours of elements from a grid, in super-blocks of 8 groups of 32 (110 bytes; `block_iq3_s` of ggml-common.h).

    byte    0  d       binary16
            2  qs      64 bytes: the low bits of the numbers that pick grid entries
           66  qh      64 bits: the ninth bit of each number
           74  signs   256 bits, one an element
          106  scales  8 nibbles, low ones first

    element of group g = d * (2 * scale[g] + 1) * grid, or less than nothing where its sign is set
"""

from ..simd import gather4, load, u8, u16, u32, u64
from .bits import half, nibbles_twice, signed
from .grids import IQ3_S

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MOST = 110, 32, 15, 0, 30


def entry(q, high, n):
    """Number n of the 16 whose low bits start at q; high: their ninth bits, from bit 8 on."""
    return u32(load(u8, q + n)) | ((high >> u32(n)) & u32(0x100))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    q, h = p + 2 + 16 * run, u32(load(u16, p + 66 + 2 * run)) << u32(8)
    grid = gather4(
        IQ3_S, entry(q, h, 0), entry(q, h, 1), entry(q, h, 2), entry(q, h, 3),
        entry(q, h, 4), entry(q, h, 5), entry(q, h, 6), entry(q, h, 7),
        entry(q, h, 8), entry(q, h, 9), entry(q, h, 10), entry(q, h, 11),
        entry(q, h, 12), entry(q, h, 13), entry(q, h, 14), entry(q, h, 15),
    )  # fmt: skip
    return signed(grid, load(u64, p + 74 + 8 * run), OFFSET)


def d(p):
    return half(p)


def dmin(p):
    return half(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    return nibbles_twice(load(u32, p + 106)) * 2 + 1


def minimums(p):
    return scales(p)

"""IQ2_S: eights of elements from a grid, in super-blocks of 16 groups of 16 (82 bytes; `block_iq2_s` of ggml-common.h).

    byte   0  d       binary16
           2  qs      32 bytes: the low bits of the numbers that pick grid entries
          34  signs   256 bits, one an element
          66  qh      8 bytes: pair n of byte j holds the upper two bits of number 4 * j + n
          74  scales  16 nibbles, low ones first

    element of group g = d / 8 * (2 * scale[g] + 1) * grid, or less than nothing where its sign is set
"""

from ..simd import f32, gather8, load, u8, u16, u32, u64
from .bits import half, nibble_pairs, signed
from .grids import IQ2_S

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MOST = 82, 16, 43, 0, 86


def entry(q, high, n):
    """Number n of the eight whose low bits start at q."""
    return u32(load(u8, q + n)) | ((high << u32(8 - 2 * n)) & u32(0x300))


def last_entry(q, high, n):
    """The same, for n from 4 on, whose upper bits must go down."""
    return u32(load(u8, q + n)) | ((high >> u32(2 * n - 8)) & u32(0x300))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    q, high = p + 2 + 8 * run, u32(load(u16, p + 66 + 2 * run))
    grid = gather8(
        IQ2_S, entry(q, high, 0), entry(q, high, 1), entry(q, high, 2), entry(q, high, 3),
        last_entry(q, high, 4), last_entry(q, high, 5), last_entry(q, high, 6), last_entry(q, high, 7),
    )  # fmt: skip
    return signed(grid, load(u64, p + 34 + 8 * run), OFFSET)


def d(p):
    return f32(half(p) * f32(0.125))


def dmin(p):
    return d(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    return nibble_pairs(load(u64, p + 74)) * 2 + 1


def minimums(p):
    return scales(p)

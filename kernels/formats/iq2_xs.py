"""IQ2_XS: eights of elements from a grid, in super-blocks of 16 groups of 16 (74 bytes; `block_iq2_xs`, ggml-common.h).

byte   0  d       binary16
       2  qs      32 numbers of 16 bits: the lower 9 pick a grid entry, the others are seven signs; an eighth makes
                  their number even
      66  scales  16 nibbles, low ones first

element of group g = d / 8 * (2 * scale[g] + 1) * grid, or less than nothing where its sign is set
"""

from ..simd import bitcast, cast, f32, gather8, load, u8x32, u16, u16x32, u32x8, u64
from .bits import half, nibble_pairs, signed
from .grids import IQ2_XS
from .signs import of_run, with_eighths

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 74, 16, 43, 0, 86


def entry(p):
    return load(u16, p) & u16(511)


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return signed(entries(p, p, run), of_run(signs(p), run), OFFSET)


def entries(p, y, run):
    """See matvec_grids."""
    q = p + 2 + 16 * run
    return gather8(
        IQ2_XS, entry(q), entry(q + 2), entry(q + 4), entry(q + 6),
        entry(q + 8), entry(q + 10), entry(q + 12), entry(q + 14),
    )  # fmt: skip


def signs(p):
    """See matvec_grids."""
    return with_eighths(bitcast(u32x8, cast(u8x32, load(u16x32, p + 2) >> 9)))


def d(p):
    return f32(half(p) * f32(0.125))


def dmin(p):
    return d(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    return nibble_pairs(load(u64, p + 66)) * 2 + 1


def minimums(p):
    return scales(p)

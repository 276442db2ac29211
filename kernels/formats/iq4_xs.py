"""IQ4_XS: 4 bits that pick one of 16 values, super-blocks of 8 groups of 32 (136 bytes; `block_iq4_xs`, ggml-common.h).

byte   0  d         binary16
       2  scales_h  16 bits: the upper two bits of the 8 scales
       4  scales_l  4 bytes: the low nibbles of the 8 scales, even ones in low nibbles
       8  qs        128 bytes: of each 16 bytes the low nibbles are elements 0-15 of a group, the high ones 16-31

element of group g = d * (scale[g] - 32) * VALUES[q], VALUES as in IQ4_NL
"""

from ..simd import Const, cast, constant, i16x16, load, lookup16, splat, u16, u32, u32x16
from .bits import half, nibbles16, nibbles_twice
from .iq4_nl import OFFSET as OFFSET
from .iq4_nl import TABLE

KIND = "super"
BYTES, GROUP, HAS_MIN, MAX_CODE, WIDE = 136, 32, 0, 240, 1
_PAIR_TWICE = Const(u32x16, tuple(2 * (i // 2) for i in range(16)))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    q = p + 8 + 32 * run
    return lookup16(TABLE, nibbles16(q, q + 16))


def d(p):
    return half(p)


def dmin(p):
    return half(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    upper = (splat(u32x16, u32(load(u16, p + 2))) >> constant(_PAIR_TWICE)) & 3
    return (nibbles_twice(load(u32, p + 4)) | cast(i16x16, upper << 4)) - 32


def minimums(p):
    return scales(p)

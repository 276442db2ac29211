"""Q2_K: 2 bits with minimums, in super-blocks of 16 groups of 16 elements (84 bytes; `block_q2_K` of ggml-common.h).

byte   0  scales  16 bytes: the low nibble is a group's scale, the high one its minimum
      16  qs      64 bytes: for each half of 128 elements, byte i holds elements i, i + 32, i + 64, i + 96
      80  d       binary16
      82  dmin    binary16

element of group g = d * scale[g] * q - dmin * minimum[g]
"""

from ..simd import cast, i16x16, load, u8x16
from .bits import half, pairs32

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 84, 16, 0, 1, 3


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return pairs32(p + 16, run)


def d(p):
    return half(p + 80)


def dmin(p):
    return half(p + 82)


def scales(p):
    """A scale a group of 16: i16x16."""
    return cast(i16x16, load(u8x16, p)) & 15


def minimums(p):
    """A minimum a group of 16: i16x16."""
    return cast(i16x16, load(u8x16, p)) >> 4

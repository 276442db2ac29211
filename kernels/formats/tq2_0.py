"""TQ2_0: ternary, 2 bits, a scale a super-block of 256 elements (66 bytes; `block_tq2_0` of ggml-common.h).

byte   0  qs  64 bytes: for each half of 128 elements, byte i holds elements i, i + 32, i + 64, i + 96
      64  d   binary16

element = d * (q - 1)
"""

from ..simd import i16x16, splat
from .bits import half, pairs32

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 66, 32, 1, 0, 2


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return pairs32(p, run)


def d(p):
    return half(p + 64)


def dmin(p):
    return half(p + 64)


def scales(p):
    """A scale a group of 16, all 1: i16x16."""
    return splat(i16x16, 1)


def minimums(p):
    return scales(p)

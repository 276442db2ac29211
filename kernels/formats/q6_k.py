"""Q6_K: 6 bits, symmetric, in super-blocks of 16 groups of 16 elements (210 bytes; `block_q6_K` of ggml-common.h).

byte    0  ql      128 bytes: for each half of 128 elements, 64 bytes hold elements 0-63 in their low nibbles and
                   64-127 in their high ones
      128  qh      64 bytes: for each half, byte i holds the upper two bits of elements i, i + 32, i + 64, i + 96
      192  scales  16 signed bytes
      208  d       binary16

element of group g = d * scales[g] * (q - 32)
"""

from ..simd import bitcast, cast, i8x16, i16x16, load, u8x64, u32x16
from .bits import LOW4, half, pairs32

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 210, 16, 32, 0, 63


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    low = (load(u32x16, p + 64 * (run >> 1)) >> (4 * (run & 1))) & LOW4
    return bitcast(u8x64, low | (bitcast(u32x16, pairs32(p + 128, run)) << 4))


def d(p):
    return half(p + 208)


def dmin(p):
    return half(p + 208)


def scales(p):
    """A scale a group of 16: i16x16."""
    return cast(i16x16, load(i8x16, p + 192))


def minimums(p):
    return scales(p)

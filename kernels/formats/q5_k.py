"""Q5_K: 5 bits with minimums, in super-blocks of 8 groups of 32 elements (176 bytes; `block_q5_K` of ggml-common.h).

    byte   0  d       binary16
           2  dmin    binary16
           4  scales  12 bytes: 8 scales and 8 minimums of 6 bits (bits.k_numbers draws them)
          16  qh      32 bytes: bit g of byte i is the fifth bit of element i of group g
          48  qs      128 bytes: of each 32 bytes the low nibbles are one group, the high nibbles the next

    element of group g = d * scale[g] * q - dmin * minimum[g]
"""

from ..simd import bitcast, u8x64
from .bits import bits32, half, k_minimums, k_scales, nibbles32

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, U7 = 176, 32, 0, 1, 1


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return nibbles32(p + 48 + 32 * run) | bitcast(u8x64, bits32(p + 16, run) << 4)


def d(p):
    return half(p)


def dmin(p):
    return half(p + 2)


def scales(p):
    """A scale a group of 16: i16x16."""
    return k_scales(p + 4)


def minimums(p):
    """A minimum a group of 16: i16x16."""
    return k_minimums(p + 4)

"""Q4_K: 4 bits with minimums, in super-blocks of 8 groups of 32 elements (144 bytes; `block_q4_K` of ggml-common.h).

byte   0  d       binary16
       2  dmin    binary16
       4  scales  12 bytes: 8 scales and 8 minimums of 6 bits (bits.k_numbers draws them)
      16  qs      128 bytes: of each 32 bytes the low nibbles are one group, the high nibbles the next

element of group g = d * scale[g] * q - dmin * minimum[g]
"""

from ..simd import bitcast, u8x64
from .bits import half, k_minimums, k_quarters, k_scales, nibbles32

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 144, 32, 0, 1, 15


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return nibbles32(p + 16 + 32 * run)


def quarters(p):
    """All codes, in the order of matvec_k: four u8x64."""
    a, b, c, e = k_quarters(p + 16)
    return bitcast(u8x64, a), bitcast(u8x64, b), bitcast(u8x64, c), bitcast(u8x64, e)


def d(p):
    return half(p)


def dmin(p):
    return half(p + 2)


def scales(p):
    """A scale a group of 16: i16x16."""
    return k_scales(p)


def minimums(p):
    """A minimum a group of 16: i16x16."""
    return k_minimums(p)

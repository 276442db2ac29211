"""Q5_K: 5 bits with minimums, in super-blocks of 8 groups of 32 elements (176 bytes; `block_q5_K` of ggml-common.h).

byte   0  d       binary16
       2  dmin    binary16
       4  scales  12 bytes: 8 scales and 8 minimums of 6 bits (bits.k_numbers draws them)
      16  qh      32 bytes: bit g of byte i is the fifth bit of element i of group g
      48  qs      128 bytes: of each 32 bytes the low nibbles are one group, the high nibbles the next

element of group g = d * scale[g] * q - dmin * minimum[g]
"""

from ..simd import Const, Lanes, bitcast, constant, load, shuffle, u8x16, u8x64, u32x16
from .bits import LOW1, bits32, half, k_minimums, k_quarters, k_scales, nibbles32

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 176, 32, 0, 1, 31


_TO_ALL = Lanes(tuple(range(16)) * 4)
_BITS = Const(u32x16, tuple(2 * q for q in range(4) for _ in range(4)))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return nibbles32(p + 48 + 32 * run) | bitcast(u8x64, bits32(p + 16, run) << 4)


def quarters(p):
    """All codes, in the order of matvec_k: four u8x64."""
    a, b, c, e = k_quarters(p + 48)
    first, last = fifths(p + 16), fifths(p + 32)
    return (
        bitcast(u8x64, a | ((first & LOW1) << 4)), bitcast(u8x64, b | ((last & LOW1) << 4)),
        bitcast(u8x64, c | ((first << 3) & (LOW1 << 4))), bitcast(u8x64, e | ((last << 3) & (LOW1 << 4))),
    )  # fmt: skip


def fifths(address):
    """16 bytes of qh: in quarter j their bits from 2j on."""
    v = load(u8x16, address)
    return bitcast(u32x16, shuffle(_TO_ALL, v, v)) >> constant(_BITS)


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

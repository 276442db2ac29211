"""IQ4_NL: 4 bits that pick from 16 values, a scale a block of 32 elements (18 bytes; `block_iq4_nl` of ggml-common.h).

byte  0  d    binary16
      2  qs   16 bytes: byte j holds element j (low nibble) and element j + 16 (high nibble)

element = d * VALUES[q]; the codes below are VALUES[q] + 127, since dot products take unsigned codes
"""

from ..simd import Const, lookup16, u8x16
from .bits import half, nibble_halves, nibbles16

KIND = "block32"
BYTES, OFFSET, HAS_MIN, MAX_CODE = 18, 127, 0, 240
SCALE_AT, QS = 0, 2
VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""`kvalues_iq4nl` of ggml-common.h."""
TABLE = Const(u8x16, tuple(value + OFFSET for value in VALUES))


def codes(a, b):
    """Elements of the blocks at a and b: u8x64."""
    return lookup16(TABLE, nibbles16(a + 2, b + 2))


def halves(qs, heads):
    """Elements 0-15 of four blocks, and 16-31: u8x64 each; see matvec_nibbles."""
    low, high = nibble_halves(qs)
    return lookup16(TABLE, low), lookup16(TABLE, high)


def scale(p):
    return half(p)


def minimum(p):
    return half(p)

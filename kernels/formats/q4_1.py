"""Q4_1: 4 bits with a minimum, a scale a block of 32 elements (20 bytes; `block_q4_1` of ggml-common.h).

byte  0  d    binary16
      2  m    binary16
      4  qs   16 bytes: byte j holds element j (low nibble) and element j + 16 (high nibble)

element = d * q + m
"""

from .bits import half, nibble_halves, nibbles16

KIND = "block32"
BYTES, OFFSET, HAS_MIN, MAX_CODE = 20, 0, 1, 15
SCALE_AT, MINIMUM_AT, QS = 0, 2, 4


def codes(a, b):
    """Elements of the blocks at a and b: u8x64."""
    return nibbles16(a + 4, b + 4)


def halves(qs, heads):
    """Elements 0-15 of four blocks, and 16-31: u8x64 each; see matvec_nibbles."""
    return nibble_halves(qs)


def scale(p):
    return half(p)


def minimum(p):
    return half(p + 2)

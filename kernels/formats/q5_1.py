"""Q5_1: 5 bits with a minimum, a scale a block of 32 elements (24 bytes; `block_q5_1` of ggml-common.h).

    byte  0  d    binary16
          2  m    binary16
          4  qh   32 bits: bit e is the fifth bit of element e
          8  qs   16 bytes: byte j holds the low bits of element j (low nibble) and element j + 16 (high nibble)

    element = d * q + m
"""

from .bits import fifth_bits, half, nibbles16

KIND = "block32"
BYTES, OFFSET, HAS_MIN, U7 = 24, 0, 1, 1
SCALE_AT, MINIMUM_AT = 0, 2


def codes(a, b):
    """Elements of the blocks at a and b: u8x64."""
    return nibbles16(a + 8, b + 8) | fifth_bits(a + 4, b + 4)


def scale(p):
    return half(p)


def minimum(p):
    return half(p + 2)

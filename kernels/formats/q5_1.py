"""Q5_1: 5 bits with a minimum, a scale a block of 32 elements (24 bytes; `block_q5_1` of ggml-common.h).

byte  0  d    binary16
      2  m    binary16
      4  qh   32 bits: bit e is the fifth bit of element e
      8  qs   16 bytes: byte j holds the low bits of element j (low nibble) and element j + 16 (high nibble)

element = d * q + m
"""

from .bits import fifth_bits, fifths_at, half, nibble_halves5, nibbles16

KIND = "block32"
BYTES, OFFSET, HAS_MIN, MAX_CODE = 24, 0, 1, 31
SCALE_AT, MINIMUM_AT, QS = 0, 2, 8
_FIRST, _LAST = fifths_at(4)


def codes(a, b):
    """Elements of the blocks at a and b: u8x64."""
    return nibbles16(a + 8, b + 8) | fifth_bits(a + 4, b + 4)


def halves(qs, heads):
    """Elements 0-15 of four blocks, and 16-31: u8x64 each; see matvec_nibbles."""
    return nibble_halves5(qs, heads, _FIRST, _LAST)


def scale(p):
    return half(p)


def minimum(p):
    return half(p + 2)

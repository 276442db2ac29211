"""Q5_0: 5 bits, symmetric, a scale a block of 32 elements (22 bytes; `block_q5_0` of ggml-common.h).

byte  0  d    binary16
      2  qh   32 bits: bit e is the fifth bit of element e
      6  qs   16 bytes: byte j holds the low bits of element j (low nibble) and element j + 16 (high nibble)

element = d * (q - 16)
"""

from .bits import fifth_bits, fifths_at, half, nibble_halves5, nibbles16

KIND = "block32"
BYTES, OFFSET, HAS_MIN, MAX_CODE = 22, 16, 0, 31
SCALE_AT, QS = 0, 6
_FIRST, _LAST = fifths_at(2)


def codes(a, b):
    """Elements of the blocks at a and b: u8x64."""
    return nibbles16(a + 6, b + 6) | fifth_bits(a + 2, b + 2)


def halves(qs, heads):
    """Elements 0-15 of four blocks, and 16-31: u8x64 each; see matvec_nibbles."""
    return nibble_halves5(qs, heads, _FIRST, _LAST)


def scale(p):
    return half(p)


def minimum(p):
    return half(p)

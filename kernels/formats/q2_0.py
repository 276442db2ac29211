"""Q2_0: 2 bits, a scale a block of 64 elements (18 bytes; `block_q2_0` of ggml-common.h).

byte  0  d   binary16
      2  qs  16 bytes: bits 2 * n and 2 * n + 1 of byte j are element 4 * j + n

element = d * (q - 1) (`dequantize_row_q2_0` of ggml-quants.c)
"""

from ..simd import Lanes, bitcast, cast, load, shuffle, u8x8, u8x64, u32x16
from .bits import LOW2, half

KIND = "block32"
BYTES, PER, OFFSET, HAS_MIN, MAX_CODE = 18, 2, 1, 0, 3
_JOIN = Lanes(tuple(range(16)))


def codes(a, i, b, j):
    """Elements of part i of the block at a and part j of that at b: u8x64."""
    v = cast(u32x16, shuffle(_JOIN, load(u8x8, a + 2 + 8 * i), load(u8x8, b + 2 + 8 * j)))
    v = v | (v << 12)
    return bitcast(u8x64, (v | (v << 6)) & LOW2)


def field(qs, n):
    """Elements n of every four; see matvec_fields."""
    return bitcast(u8x64, (qs >> (2 * n)) & LOW2)


def scale(p):
    return half(p)


def minimum(p):
    return half(p)

"""Q1_0: signs alone, a scale a block of 128 elements (18 bytes; `block_q1_0` of ggml-common.h).

byte  0  d   binary16
      2  qs  16 bytes: bit n of byte j is element 8 * j + n

element = d where the bit is set, else -d (`dequantize_row_q1_0` of ggml-quants.c): codes are 2 and 0
"""

from ..simd import bitcast, load, mask64, select, splat, u8x64, u32, u64
from .bits import half

KIND = "block32"
BYTES, PER, OFFSET, HAS_MIN, MAX_CODE = 18, 4, 1, 0, 2
_TWOS = 0x02020202


def codes(a, i, b, j):
    """Elements of part i of the block at a and part j of that at b: u8x64."""
    bits = u64(load(u32, a + 2 + 4 * i)) | (u64(load(u32, b + 2 + 4 * j)) << u64(32))
    return select(mask64(bits), splat(u8x64, 2), splat(u8x64, 0))


def field(qs, n):
    """Elements n of every eight; see matvec_fields."""
    if n == 0:
        return bitcast(u8x64, (qs << 1) & _TWOS)
    return bitcast(u8x64, (qs >> (n - 1)) & _TWOS)


def scale(p):
    return half(p)


def minimum(p):
    return half(p)

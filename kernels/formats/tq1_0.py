"""TQ1_0: ternary, five elements a byte, a scale a super-block of 256 (54 bytes; `block_tq1_0` of ggml-common.h).

byte   0  qs  32 bytes: digit n (of 5) of byte m is element 32 * n + m; then
              16 bytes: digit n (of 5) of byte m is element 160 + 16 * n + m
      48  qh  4 bytes: digit n (of 4) of byte m is element 240 + 4 * n + m
      52  d   binary16

element = d * (digit - 1). A byte b is a binary fraction, b / 256 = 0.digits in base 3: digit n is the whole part of
3 * (b * 3**n mod 256) / 256 (`dequantize_row_tq1_0` of ggml-quants.c).
"""

from ..simd import (
    Const,
    Lanes,
    bitcast,
    constant,
    i16x16,
    less,
    load,
    lookup16,
    select,
    shuffle,
    splat,
    u8x16,
    u8x32,
    u8x64,
    u16x32,
)
from .bits import half, twice32

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 54, 32, 1, 0, 2
SHORT, LAST, D = 32, 48, 52
_POWERS0 = Const(u8x64, (1,) * 32 + (3,) * 32)
_POWERS1 = Const(u8x64, (9,) * 32 + (27,) * 32)
_POWERS2 = Const(u8x64, (81,) * 32 + (1,) * 16 + (3,) * 16)
_POWERS3 = Const(u8x64, (9,) * 16 + (27,) * 16 + (81,) * 16 + (1,) * 4 + (3,) * 4 + (9,) * 4 + (27,) * 4)
_UPPER = Const(u8x16, (*(n // 3 for n in range(9)), *(0,) * 7))
_LOWER = Const(u8x16, (*(n % 3 for n in range(9)), *(0,) * 7))
_JOIN = Lanes(tuple(range(32)))
_RUN2 = Lanes((*range(32), *range(32, 48), *range(32, 48)))
_RUN3 = Lanes((*(tuple(range(16)) * 3), *(tuple(range(28, 32)) * 4)))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    if run < 2:
        whole = bitcast(u8x64, twice32(p))
        if run == 0:
            return digits(whole * constant(_POWERS0))
        return digits(whole * constant(_POWERS1))
    # Bytes 32-47, and at the end the four of qh.
    rest = shuffle(_JOIN, load(u8x16, p + 32), load(u8x16, p + 36))
    if run == 2:
        return digits(shuffle(_RUN2, load(u8x32, p), rest) * constant(_POWERS2))
    return digits(shuffle(_RUN3, rest, rest) * constant(_POWERS3))


def digits(v):
    """Whole parts of 3 * v / 256."""
    one, zero = splat(u8x64, 1), splat(u8x64, 0)
    return select(less(splat(u8x64, 85), v), one, zero) + select(less(splat(u8x64, 170), v), one, zero)


def five_digits(v, nine):
    """All digits of each byte, u8x64, one vector after another; see matvec_digits. nine: in each 16 bits.

    Nine times a byte is a number of two digits, and 8 bits that begin with the next digit: bytes are multiplied in 16
    bits, even and odd ones apart.
    """
    v = bitcast(u16x32, v)
    even, odd = (v & 255) * nine, (v >> 8) * nine
    even1, odd1 = (even & 255) * nine, (odd & 255) * nine
    first, second = _numbers(even, odd), _numbers(even1, odd1)
    last = _numbers((even1 & 255) * nine, (odd1 & 255) * nine)
    return _upper(first), _lower(first), _upper(second), _lower(second), _upper(last)


def two_digits(v, nine):
    """The first two digits of each byte."""
    v = bitcast(u16x32, v)
    both = _numbers((v & 255) * nine, (v >> 8) * nine)
    return _upper(both), _lower(both)


def _numbers(even, odd):
    """The upper bytes of products of even bytes, and of odd ones: u8x64."""
    return bitcast(u8x64, (even >> 8) | (odd & 0xFF00))


def _upper(numbers):
    """The first digits of numbers of two."""
    return lookup16(_UPPER, numbers)


def _lower(numbers):
    """Their second digits."""
    return lookup16(_LOWER, numbers)


def d(p):
    return half(p + D)


def dmin(p):
    return half(p + D)


def scales(p):
    """A scale a group of 16, all 1: i16x16."""
    return splat(i16x16, 1)


def minimums(p):
    return scales(p)

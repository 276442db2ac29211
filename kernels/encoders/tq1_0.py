"""TQ1_0 from floats: five elements a byte, as a fraction in base 3 (`quantize_row_tq1_0_ref` of ggml-quants.c)."""

from ..simd import Lanes, cast, f32x16, i32x16, load, shuffle, store, u8x16
from .levels import inverse_of
from .one_scale import encoder
from .ternary import find, level

_Q0, _Q1, _Q2, _Q3 = (Lanes(tuple(range(4 * q, 4 * q + 4)) * 4) for q in range(4))
_FOUR = Lanes((0, 1, 2, 3))


def digits(x, inverse, stride):
    """Numbers of five base 3 digits, each the next 16 elements `stride` bytes on, the first one leading: f32x16."""
    v = level(load(f32x16, x) * inverse) + 1.0
    for n in range(1, 5):
        v = v * 3.0 + (level(load(f32x16, x + stride * n) * inverse) + 1.0)
    return v


def fraction(v):
    """The byte b whose b / 256 begins with these digits: v * 256 / 243, rounded up."""
    return cast(u8x16, (cast(i32x16, v) * 256 + 242) * 17261 >> 22)


def pack(x, scale, out):
    inverse = inverse_of(scale)
    for i in range(0, 32, 16):
        store(out + i, fraction(digits(x + 4 * i, inverse, 128)))
    store(out + 32, fraction(digits(x + 640, inverse, 64)))
    # The last 16 elements: four digits each of four bytes, and a zero.
    rest = level(load(f32x16, x + 960) * inverse) + 1.0
    a, b, c, d = shuffle(_Q0, rest, rest), shuffle(_Q1, rest, rest), shuffle(_Q2, rest, rest), shuffle(_Q3, rest, rest)
    last = fraction((((a * 3.0 + b) * 3.0 + c) * 3.0 + d) * 3.0)
    store(out + 48, shuffle(_FOUR, last, last))


encode = encoder(54, 256, 52, find, pack)

"""MXFP4 from floats: of three powers of two around a block's greatest element, the one with the least error."""

from ..simd import (
    bitcast,
    f32,
    f32x16,
    i32,
    i32x16,
    less,
    load,
    maximum,
    minimum,
    select,
    splat,
    store,
    u8,
    u32,
)
from .e2m1 import LEVEL, codes
from .lanes import greatest, transpose
from .levels import gain_of, magnitudes, sums

_EXPONENTS = (-3, -2, -4)
"""Of a scale, relative to that of the greatest element: 8 to 16, 4 to 8, and 16 to 32 times the scale."""
_W, _EXPONENT = 2048, 4096
_sums = sums(32, LEVEL)


def power(e):
    """2**e of integers from -126 to 127."""
    return bitcast(f32x16, (e + 127) << 23)


def encode(x, w, out, n, scratch):
    lanes, weights, chosen = scratch, scratch + _W, scratch + _EXPONENT
    for first in range(0, n, 16):
        here = min(16, n - first)
        transpose(x + 128 * first, 32, here, lanes)
        transpose(w + 128 * first, 32, here, weights)
        store(chosen, best(lanes, weights))
        for b in range(here):
            e = load(i32, chosen + 4 * b)
            place, at = out + 17 * (first + b), x + 128 * (first + b)
            # The exponent is that of the level 2: levels are doubled.
            store(place, u8(e + 128))
            inverse = bitcast(f32, u32(u32(127 - e) << u32(23)))
            store(place + 1, codes(at, inverse) | (codes(at + 64, inverse) << 4))


def best(x, w):
    """The exponents of the scales of 16 blocks: i32x16."""
    magnitudes(x, 32)
    top = (bitcast(i32x16, greatest(x, 32)) >> 23) - 127
    gain, chosen = splat(f32x16, -1.0), splat(i32x16, -126)
    for relative in _EXPONENTS:
        e = minimum(maximum(top + relative, splat(i32x16, -126)), splat(i32x16, 126))
        scale = power(e)
        xl, ll = _sums(x, w, power(splat(i32x16, 0) - e))
        found = gain_of(xl, ll, scale)
        better = less(gain, found)
        gain, chosen = select(better, found, gain), select(better, e, chosen)
    return chosen

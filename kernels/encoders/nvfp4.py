"""NVFP4 from floats: of the 8-bit floats around a fitting scale of 16 elements, the one with the least error."""

from ..simd import (
    Lanes,
    cast,
    f32,
    f32x16,
    from_half,
    i32x16,
    less,
    load,
    maximum,
    minimum,
    select,
    shuffle,
    splat,
    store,
    to_half,
    u8,
    u8x16,
    u16x16,
)
from .e2m1 import LEVEL, codes
from .lanes import greatest, inverse, transpose
from .levels import gain_of, magnitudes, sums

_STEPS = (0, 1, -1, 2, 3, 4, 5, 6, 7, -2)
"""Numbers of 8-bit floats from the one with which the greatest element has the greatest level."""
_W, _CODES, _INVERSES = 1024, 2048, 2112
_LOW, _HIGH = Lanes(tuple(range(8))), Lanes(tuple(range(8, 16)))
_sums = sums(16, LEVEL)


def scale_of(code):
    """Half of the 8-bit float of each code, 0 to 126: f32x16. Levels are doubled; see formats/nvfp4.py."""
    return from_half(cast(u16x16, code << 7)) * 128.0


def encode(x, w, out, n, scratch):
    lanes, weights = scratch, scratch + _W
    for first in range(0, 4 * n, 16):
        here = min(16, 4 * n - first)
        transpose(x + 64 * first, 16, here, lanes)
        transpose(w + 64 * first, 16, here, weights)
        code = best(lanes, weights)
        store(scratch + _CODES, cast(u8x16, code))
        store(scratch + _INVERSES, inverse(scale_of(code)))
        for g in range(here):
            block, part = (first + g) >> 2, (first + g) & 3
            place = out + 36 * block
            store(place + part, load(u8, scratch + _CODES + g))
            c = codes(x + 64 * (first + g), load(f32, scratch + _INVERSES + 4 * g))
            low, high = shuffle(_LOW, c, c), shuffle(_HIGH, c, c)
            store(place + 4 + 8 * part, low | (high << 4))


def best(x, w):
    """The codes of the scales of 16 groups: i32x16."""
    magnitudes(x, 16)
    top = minimum(greatest(x, 16), splat(f32x16, 5376.0))
    fitting = cast(i32x16, to_half(top * (1.0 / 12.0 / 128.0)) >> 7)
    gain, chosen = splat(f32x16, 0.0), splat(i32x16, 0)
    for step in _STEPS:
        code = minimum(maximum(fitting + step, splat(i32x16, 0)), splat(i32x16, 126))
        scale = scale_of(code)
        xl, ll = _sums(x, w, inverse(scale))
        found = gain_of(xl, ll, scale)
        better = less(gain, found)
        gain, chosen = select(better, found, gain), select(better, code, chosen)
    return chosen

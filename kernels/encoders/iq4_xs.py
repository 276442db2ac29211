"""IQ4_XS from floats: integer scales of groups of 32 in super-blocks of 256, for the levels of IQ4_NL.

The groups of two super-blocks lie side by side. The super-block's d comes from the scales that are best for each group
alone; for it, integer scales around these are compared; d becomes the best one for what was chosen, and so once more.
"""

from ..simd import absolute, cast, f32, f32x16, i32, i32x16, less, load, select, splat, store, u8, u16
from .across import add, greater, over
from .iq4_nl import CANDIDATES, LEVEL, codes
from .lanes import clamped, greatest, half, inverse, multiply, power_of, transpose
from .levels import gain_of, search, sums

SIGMA = 2.0
_W, _SCALES, _UNITS, _BITS = 2048, 4096, 4160, 4224
_find, _sums, _total, _most = search(32, LEVEL, CANDIDATES, 2), sums(32, LEVEL), over(8, add), over(8, greater)


def around(x, w, scale, unit):
    """The best integer scales near `scale`, and the best unit for them."""
    middle = clamped(scale * inverse(unit), -32.0, 31.0)
    gain, chosen = splat(f32x16, -1.0), splat(f32x16, 0.0)
    best_xl, best_ll = splat(f32x16, 0.0), splat(f32x16, 0.0)
    for shift in (0.0, -1.0, 1.0):
        tried = clamped(middle + shift, -32.0, 31.0)
        xl, ll = _sums(x, w, inverse(tried * unit))
        found = gain_of(xl, ll, tried * unit)
        better = less(gain, found)
        gain, chosen = select(better, found, gain), select(better, tried, chosen)
        best_xl, best_ll = select(better, xl, best_xl), select(better, ll, best_ll)
    return chosen, _total(chosen * best_xl) * inverse(_total(chosen * chosen * best_ll))


def encode(x, w, out, n, scratch):
    weights = scratch + _W
    for first in range(0, n, 2):
        here = min(2, n - first)
        transpose(x + 1024 * first, 32, 8 * here, scratch)
        transpose(w + 1024 * first, 32, 8 * here, weights)
        top = greatest(scratch, 32)
        power = power_of(_most(absolute(top)))
        multiply(scratch, 32, splat(f32x16, 1.0) / power)
        scale = _find(scratch, weights, top / power)
        # The scale of the greatest magnitude, whose sign is free, becomes -32.
        most = _most(absolute(scale))
        unit = select(less(_most(scale), most), most, splat(f32x16, 0.0) - most) * 0.03125
        bits, d = half(unit * power)
        chosen, unit = around(scratch, weights, scale, d / power)
        bits, d = half(unit * power)
        chosen, unit = around(scratch, weights, chosen * (d / power), d / power)
        bits, d = half(unit * power)
        store(scratch + _SCALES, cast(i32x16, chosen) + 32)
        store(scratch + _UNITS, d * chosen)
        store(scratch + _BITS, bits)
        for b in range(here):
            pack(x + 1024 * (first + b), scratch, 8 * b, out + 136 * (first + b))


def pack(x, scratch, group, out):
    """group: the number of the super-block's first one."""
    store(out, load(u16, scratch + _BITS + 2 * group))
    high = 0
    for g in range(8):
        scale = load(i32, scratch + _SCALES + 4 * (group + g))
        high = high | ((scale >> 4) << (2 * g))
        codes(x + 128 * g, load(f32, scratch + _UNITS + 4 * (group + g)), out + 8 + 16 * g)
    store(out + 2, u16(high))
    for i in range(4):
        at = scratch + _SCALES + 4 * group + 8 * i
        store(out + 4 + i, u8((load(i32, at) & 15) | ((load(i32, at + 4) & 15) << 4)))

"""Formats with blocks of 32 elements and binary16 scales: 16 blocks are searched side by side, then packed by one."""

from ..simd import f32, f32x16, from_half, load, maximum, minimum, select, splat, store, to_half, u16
from .lanes import greatest, is_nothing, multiply, power_of, transpose

_W, _SCALES = 4096, 8192
_GREATEST_HALF = 65504.0


def half(v):
    """Scales as they are stored: nearest binary16, the greatest finite one for more: bits, and what they mean."""
    bounded = minimum(maximum(v, splat(f32x16, -_GREATEST_HALF)), splat(f32x16, _GREATEST_HALF))
    bits = to_half(bounded)
    return bits, from_half(bits)


def symmetric(size, find, pack):
    """The `encode` of a format whose blocks of `size` bytes begin with their scale.

    find: symmetric.search; pack(x, scale, out): codes of a block's 32 elements, for a scale that is not 0.
    """

    def encode(x, w, out, n, scratch):
        lanes, scales = scratch, scratch + _SCALES
        for first in range(0, n, 16):
            here = min(16, n - first)
            transpose(x + 128 * first, 32, here, lanes)
            transpose(w + 128 * first, 32, here, lanes + _W)
            top = greatest(lanes, 32)
            power = power_of(top)
            multiply(lanes, 32, splat(f32x16, 1.0) / power)
            scale = find(lanes, lanes + _W, top / power) * power
            bits, scale = half(select(is_nothing(top), splat(f32x16, 0.0), scale))
            store(scales, bits)
            store(scales + 64, scale)
            for b in range(here):
                place = out + size * (first + b)
                store(place, load(u16, scales + 2 * b))
                pack(x + 128 * (first + b), load(f32, scales + 64 + 4 * b), place)

    return encode

"""Formats with one binary16 scale a block: 16 blocks are searched side by side, then packed one by one."""

from ..simd import f32, f32x16, load, select, splat, store, u16
from .lanes import greatest, half, is_nothing, multiply, power_of, transpose


def encoder(size, elements, scale_at, find, pack):
    """The `encode` of a format whose blocks have `size` bytes and `elements` elements, their scale at byte `scale_at`.

    find: levels.search; pack(x, scale, out): codes of a block's elements, for its scale as it is stored.
    """
    weights_at = 64 * elements

    def encode(x, w, out, n, scratch):
        lanes, scales = scratch, scratch + 2 * weights_at
        for first in range(0, n, 16):
            here = min(16, n - first)
            transpose(x + 4 * elements * first, elements, here, lanes)
            transpose(w + 4 * elements * first, elements, here, lanes + weights_at)
            top = greatest(lanes, elements)
            power = power_of(top)
            multiply(lanes, elements, splat(f32x16, 1.0) / power)
            scale = find(lanes, lanes + weights_at, top / power) * power
            bits, scale = half(select(is_nothing(top), splat(f32x16, 0.0), scale))
            store(scales, bits)
            store(scales + 64, scale)
            for b in range(here):
                place = out + size * (first + b)
                store(place + scale_at, load(u16, scales + 2 * b))
                pack(x + 4 * elements * (first + b), load(f32, scales + 64 + 4 * b), place)

    return encode

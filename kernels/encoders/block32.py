"""Formats with blocks of 32 elements and binary16 scales: 16 blocks are searched side by side."""

from ..simd import absolute, f32, f32x16, load, maximum, select, splat, store, u16
from .affine import bounds, given_scale, raised
from .lanes import greatest, half, half_scale, is_nothing, multiply, power_of, transpose

_W, _MADE = 2048, 4096
_NO_LIMIT = 1e30


def symmetric(size, find, pack, weighted=True):
    """The `encode` of a format whose blocks of `size` bytes begin with their scale.

    find: symmetric.search; pack(x, scale, out): the codes of a block's 32 elements.
    """

    def encode(x, w, out, n, scratch):
        lanes, made = scratch, scratch + _MADE
        for first in range(0, n, 16):
            here = min(16, n - first)
            transpose(x + 128 * first, 32, here, lanes)
            if weighted:
                transpose(w + 128 * first, 32, here, lanes + _W)
            top = greatest(lanes, 32)
            power = power_of(top)
            multiply(lanes, 32, splat(f32x16, 1.0) / power)
            scale = find(lanes, lanes + _W, top / power) * power
            bits, scale = half_scale(select(is_nothing(top), splat(f32x16, 0.0), scale))
            store(made, scale)
            store(made + 64, bits)
            for b in range(here):
                place = out + size * (first + b)
                store(place, load(u16, made + 64 + 2 * b))
                pack(x + 128 * (first + b), load(f32, made + 4 * b), place)

    return encode


def affine(size, high, find, pack, weighted=True):
    """The `encode` of a format whose blocks of `size` bytes begin with a scale and a minimum.

    find: affine.search; pack(x, scale, low, out): the codes of a block's 32 elements.
    """

    refit = given_scale(32, high, weighted)

    def encode(x, w, out, n, scratch):
        lanes, made = scratch, scratch + _MADE
        for first in range(0, n, 16):
            here = min(16, n - first)
            transpose(x + 128 * first, 32, here, lanes)
            if weighted:
                transpose(w + 128 * first, 32, here, lanes + _W)
            least, top = bounds(lanes, 32)
            power = power_of(maximum(absolute(least), absolute(top)))
            one = splat(f32x16, 1.0) / power
            least, top = least * one, top * one
            of_all = raised(lanes, lanes + _W, 32, least, one, weighted)
            scale, low = find(lanes, lanes + _W, top - least, splat(f32x16, _NO_LIMIT), of_all)
            bits, scale = half_scale(scale * power)
            low = refit(lanes, lanes + _W, scale / power, low, of_all[0], of_all[1])
            low_bits, low = half((least + low) * power)
            store(made, scale)
            store(made + 64, low)
            store(made + 128, bits)
            store(made + 160, low_bits)
            for b in range(here):
                place = out + size * (first + b)
                store(place, load(u16, made + 128 + 2 * b))
                store(place + 2, load(u16, made + 160 + 2 * b))
                pack(x + 128 * (first + b), load(f32, made + 4 * b), load(f32, made + 64 + 4 * b), place)

    return encode

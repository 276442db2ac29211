"""Q1_0 from floats: signs, and the scale that is nearest for them, the weighted mean of the magnitudes.

Exact where all elements of a block have one magnitude that is a binary16 number: binary weights.
"""

from ..simd import Const, absolute, constant, f32x16, hsum, less, load, select, splat, store, u16, u32x16
from .lanes import inverse
from .one_scale import encoder

_BIT = Const(u32x16, tuple(1 << i for i in range(16)))


def find(x, w, top):
    wx, ww = splat(f32x16, 0.0), splat(f32x16, 0.0)
    for j in range(128):
        weight = load(f32x16, w + 64 * j)
        wx, ww = wx + weight * absolute(load(f32x16, x + 64 * j)), ww + weight
    return wx * inverse(ww)


def pack(x, scale, out):
    for i in range(0, 128, 16):
        negative = less(load(f32x16, x + 4 * i), splat(f32x16, 0.0))
        store(out + 2 + i // 8, u16(hsum(select(negative, splat(u32x16, 0), constant(_BIT)))))


encode = encoder(18, 128, 0, find, pack)

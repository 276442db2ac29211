"""Q2_0 from floats: a scale a block of 64, its sign free, for the levels -1, 0, 1, 2.

Exact where the elements of a block are -s, 0 and s, s a binary16 number: ternary weights.
"""

from ..simd import bitcast, cast, f32x16, load, store, u8, u8x16, u32x4
from ..simd.types import Vec
from .lanes import clamped
from .levels import inverse_of, search
from .one_scale import encoder

_CANDIDATES = (2.0, 1.0, -1.0, 1.6, 2.4, 3.0, 4.0, 5.5, -1.3, -1.8, -2.5, -3.5)
_BYTES = Vec(u8, 4)


def level(v):
    return clamped(v, -1.0, 2.0)


def pack(x, scale, out):
    inverse = inverse_of(scale)
    for i in range(0, 64, 16):
        v = bitcast(u32x4, cast(u8x16, level(load(f32x16, x + 4 * i) * inverse) + 1.0))
        v = (v | (v >> 6) | (v >> 12) | (v >> 18)) & 0xFF
        store(out + 2 + i // 4, cast(_BYTES, v))


encode = encoder(18, 64, 0, search(64, level, _CANDIDATES, 2), pack)

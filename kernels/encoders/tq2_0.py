"""TQ2_0 from floats: two bits an element."""

from ..simd import cast, f32x16, i32x16, load, store, u8x16
from .levels import inverse_of
from .one_scale import encoder
from .ternary import find, level


def pack(x, scale, out):
    inverse = inverse_of(scale)
    for half in range(2):
        for i in range(0, 32, 16):
            at = x + 512 * half + 4 * i
            a, b = level(load(f32x16, at) * inverse) + 1.0, level(load(f32x16, at + 128) * inverse) + 1.0
            c, d = level(load(f32x16, at + 256) * inverse) + 1.0, level(load(f32x16, at + 384) * inverse) + 1.0
            # Through 32 bits: a float above 127 has no meaning as 8 bits with a sign.
            store(out + 32 * half + i, cast(u8x16, cast(i32x16, ((d * 4.0 + c) * 4.0 + b) * 4.0 + a)))


encode = encoder(66, 256, 64, find, pack)

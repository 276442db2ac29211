"""Q8_0 from floats: a scale a block of 32."""

from ..simd import cast, f32, f32x16, i8x16, load, store
from .block32 import symmetric
from .lanes import clamped
from .symmetric import search

SIGMA, MEAN = 1.0, "row"


def pack(x, scale, out):
    inverse = f32(0.0)
    if scale != f32(0.0):
        inverse = f32(f32(1.0) / scale)
    for i in range(0, 32, 16):
        store(out + 2 + i, cast(i8x16, clamped(load(f32x16, x + 4 * i) * inverse, -127.0, 127.0)))


encode = symmetric(34, search(32, -127.0, 127.0, (127.0,), 1), pack)

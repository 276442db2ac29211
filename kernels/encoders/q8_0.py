"""Q8_0 from floats: a scale a block of 32; codes go from -127 to 127."""

from ..simd import cast, f32x16, i8x16, load, store
from .block32 import symmetric
from .lanes import clamped
from .packing import inverse_of
from .symmetric import search

SIGMA, MEAN = 1.0, "row"


def pack(x, scale, out):
    one = inverse_of(scale)
    for i in range(0, 32, 16):
        store(out + 2 + i, cast(i8x16, clamped(load(f32x16, x + 4 * i) * one, -127.0, 127.0)))


encode = symmetric(34, search(32, -127.0, 127.0, (127.0, 126.8, 127.2), 2), pack)
plain = symmetric(34, search(32, -127.0, 127.0, (127.0,), 1, weighted=False), pack, weighted=False)

"""Q6_K from floats: groups of 16 with scales of 8 bits."""

from ..simd import cast, f32, f32x16, i8x16, load, store, u8x16
from .k_symmetric import encoder
from .packing import codes16, half_of

PLAIN = "raised"
CANDIDATES = tuple(-32.0 - 0.2 * i for i in range(-4, 5)) + tuple(31.0 + 0.2 * i for i in range(-4, 5))
STARTS = (1.0, 128 / 127, 32 / 31, 128 / 126, 33 / 32)


def pack(x, made, out):
    q = made + 192
    for g in range(16):
        store(q + 16 * g, codes16(x + 64 * g, load(f32, made + 4 * g), -32.0, 31.0, 32.0))
    for half in range(2):
        for i in range(0, 32, 16):
            at, low = q + 128 * half + i, out + 64 * half + i
            a, b, c, d = load(u8x16, at), load(u8x16, at + 32), load(u8x16, at + 64), load(u8x16, at + 96)
            store(low, (a & 15) | (c << 4))
            store(low + 32, (b & 15) | (d << 4))
            store(out + 128 + 32 * half + i, (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6))
    store(out + 192, cast(i8x16, load(f32x16, made + 64)))
    store(out + 208, half_of(made + 128))


encode = encoder(210, -32.0, 31.0, -128.0, 127.0, CANDIDATES, 2, STARTS, (-1.0, 0.0, 1.0), pack)

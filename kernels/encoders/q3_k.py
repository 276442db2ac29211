"""Q3_K from floats: groups of 16 with scales of 6 bits."""

from ..simd import f32, i32, load, splat, store, u8, u8x16
from .k_symmetric import encoder
from .packing import codes16, half_of, pairs

SIGMA, PLAIN = 2.0, "raised"
CANDIDATES = tuple(-4.0 - 0.15 * i for i in range(-7, 8)) + tuple(3.0 + 0.15 * i for i in range(-7, 8))
STARTS = (1.0, 0.97, 1.03, 1.07)


def number(made, g):
    """Scale g as it is stored, from 0 to 63."""
    return i32(load(f32, made + 64 + 4 * g)) + i32(32)


def pack(x, made, out):
    q = made + 192
    for g in range(16):
        store(q + 16 * g, codes16(x + 64 * g, load(f32, made + 4 * g), -4.0, 3.0, 4.0))
    pairs(q, out + 32)
    for i in range(0, 32, 16):
        thirds = splat(u8x16, 0)
        for j in range(8):
            thirds = (thirds >> 1) | ((load(u8x16, q + 32 * j + i) >> 2) << 7)
        store(out + i, thirds)
    for g in range(8):
        store(out + 96 + g, u8((number(made, g) & 15) | ((number(made, g + 8) & 15) << 4)))
    for g in range(4):
        low = (number(made, g) >> 4) | ((number(made, g + 4) >> 4) << 2)
        store(out + 104 + g, u8(low | ((number(made, g + 8) >> 4) << 4) | ((number(made, g + 12) >> 4) << 6)))
    store(out + 108, half_of(made + 128))


encode = encoder(110, -4.0, 3.0, -32.0, 31.0, CANDIDATES, 3, STARTS, (-1.0, 0.0, 1.0), pack)

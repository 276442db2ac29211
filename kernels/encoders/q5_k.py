"""Q5_K from floats: groups of 32 with scales and minimums of 6 bits."""

from ..simd import f32, load, splat, store, u8x16
from .k_affine import encoder
from .packing import codes_over, half_of, k_numbers

SIGMA, PLAIN = 2.0, "spread"
CANDIDATES = tuple((a * 0.4, 31.0 + b * 0.4) for a in range(-2, 3) for b in range(-2, 3))


def pack(x, made, out):
    store(out, half_of(made + 256))
    store(out + 2, half_of(made + 320))
    k_numbers(made + 128, made + 192, out + 4)
    for i in range(0, 32, 16):
        fifths = splat(u8x16, 0)
        for g in range(0, 8, 2):
            a = codes_over(x + 128 * g + 4 * i, load(f32, made + 4 * g), load(f32, made + 64 + 4 * g), 31.0)
            b = codes_over(x + 128 * g + 4 * i + 128, load(f32, made + 4 * g + 4), load(f32, made + 68 + 4 * g), 31.0)
            store(out + 48 + 16 * g + i, (a & 15) | (b << 4))
            fifths = (fifths >> 2) | ((a >> 4) << 6) | ((b >> 4) << 7)
        store(out + 16 + i, fifths)


encode = encoder(176, 32, 31.0, 63.0, CANDIDATES, 2, (-1.0, 0.0, 1.0), pack)

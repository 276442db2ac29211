"""Q2_K from floats: groups of 16 with scales and minimums of 4 bits."""

from ..simd import cast, f32, f32x16, load, store, u8x16
from .k_affine import encoder
from .packing import codes_over, half_of, pairs

SIGMA, PLAIN = 1.0, "leaning"
CANDIDATES = tuple((a * 0.3, 3.0 + b * 0.3) for a in range(-3, 2) for b in range(-2, 4))


def pack(x, made, out):
    scales = cast(u8x16, load(f32x16, made + 128))
    store(out, scales | (cast(u8x16, load(f32x16, made + 192)) << 4))
    q = made + 384
    for g in range(16):
        store(q + 16 * g, codes_over(x + 64 * g, load(f32, made + 4 * g), load(f32, made + 64 + 4 * g), 3.0))
    pairs(q, out + 16)
    store(out + 80, half_of(made + 256))
    store(out + 82, half_of(made + 320))


encode = encoder(84, 16, 3.0, 15.0, CANDIDATES, 2, (-1.0, 0.0, 1.0), pack)

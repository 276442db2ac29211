"""Q5_1 from floats: a scale and a minimum a block of 32."""

from ..simd import f32, store
from .affine import search
from .block32 import affine
from .packing import codes_over, fifth_bits

SIGMA, MEAN = 1.0, "row"
CANDIDATES = tuple((a * 0.4, 31.0 + b * 0.4) for a in range(-2, 3) for b in range(-2, 3))
FEW = ((0.0, 31.0), (-0.4, 31.4), (-0.4, 30.9))


def pack(x, scale, low, out):
    least = f32(-low)
    a, b = codes_over(x, scale, least, 31.0), codes_over(x + 64, scale, least, 31.0)
    fifth_bits(a, out + 4)
    fifth_bits(b, out + 6)
    store(out + 8, (a & 15) | (b << 4))


encode = affine(24, 31.0, search(32, 31.0, CANDIDATES, 3), pack)
plain = affine(24, 31.0, search(32, 31.0, FEW, 1, weighted=False), pack, weighted=False)

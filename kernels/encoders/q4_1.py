"""Q4_1 from floats: a scale and a minimum a block of 32."""

from ..simd import f32, store
from .affine import search
from .block32 import affine
from .packing import codes_over

SIGMA, MEAN = 1.0, "row"
CANDIDATES = tuple((a * 0.4, 15.0 + b * 0.4) for a in range(-2, 3) for b in range(-2, 3))
FEW = ((0.0, 15.0), (-0.4, 15.4), (-0.4, 14.9))


def pack(x, scale, low, out):
    least = f32(-low)
    store(out + 4, codes_over(x, scale, least, 15.0) | (codes_over(x + 64, scale, least, 15.0) << 4))


encode = affine(20, 15.0, search(32, 15.0, CANDIDATES, 3), pack)
plain = affine(20, 15.0, search(32, 15.0, FEW, 1, weighted=False), pack, weighted=False)

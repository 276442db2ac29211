"""Q4_0 from floats: a scale a block of 32, its sign free: codes go from -8 to 7."""

from ..simd import store
from .block32 import symmetric
from .packing import codes16
from .symmetric import search

SIGMA, MEAN = 1.0, "row"
CANDIDATES = tuple(-8.0 - 0.1 * i for i in range(-9, 10)) + tuple(7.0 + 0.1 * i for i in range(-9, 10))
FEW = (-8.0, -8.6, 7.2)


def pack(x, scale, out):
    low, high = codes16(x, scale, -8.0, 7.0, 8.0), codes16(x + 64, scale, -8.0, 7.0, 8.0)
    store(out + 2, low | (high << 4))


encode = symmetric(18, search(32, -8.0, 7.0, CANDIDATES, 2), pack)
plain = symmetric(18, search(32, -8.0, 7.0, FEW, 1, weighted=False), pack, weighted=False)

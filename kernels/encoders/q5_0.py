"""Q5_0 from floats: a scale a block of 32, its sign free: codes go from -16 to 15."""

from ..simd import store
from .block32 import symmetric
from .packing import codes16, fifth_bits
from .symmetric import search

SIGMA, MEAN = 1.0, "row"
CANDIDATES = tuple(-16.0 - 0.1 * i for i in range(-9, 10)) + tuple(15.0 + 0.1 * i for i in range(-9, 10))
FEW = (-16.0, -16.6, 15.2)


def pack(x, scale, out):
    low, high = codes16(x, scale, -16.0, 15.0, 16.0), codes16(x + 64, scale, -16.0, 15.0, 16.0)
    fifth_bits(low, out + 2)
    fifth_bits(high, out + 4)
    store(out + 6, (low & 15) | (high << 4))


encode = symmetric(22, search(32, -16.0, 15.0, CANDIDATES, 2), pack)
plain = symmetric(22, search(32, -16.0, 15.0, FEW, 1, weighted=False), pack, weighted=False)

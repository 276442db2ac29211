"""Q8_0: 8 bits, symmetric, a scale a block of 32 elements (34 bytes; `block_q8_0` of ggml-common.h).

byte  0  d    binary16
      2  qs   32 signed bytes

element = d * qs; the codes below are qs + 128, since dot products take unsigned codes
"""

from ..simd import Lanes, load, shuffle, u8x32
from .bits import half

KIND = "block32"
BYTES, OFFSET, HAS_MIN, MAX_CODE = 34, 128, 0, 255
_JOIN = Lanes(tuple(range(64)))
SCALE_AT = 0


def codes(a, b):
    """Elements of the blocks at a and b: u8x64."""
    return shuffle(_JOIN, load(u8x32, a + 2), load(u8x32, b + 2)) ^ 128


def scale(p):
    return half(p)


def minimum(p):
    return half(p)

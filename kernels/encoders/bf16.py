"""BF16 from floats: nearest, even at a tie."""

from ..simd import bitcast, cast, u16, u16x16, u32x16
from .floats import encoder


def round16(v):
    bits = bitcast(u32x16, v)
    return cast(u16x16, (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16)


encode = encoder(2, u16, round16)

"""F16 from floats: nearest, even at a tie; the encoder refuses values that would become infinite."""

from ..simd import to_half, u16
from .floats import encoder


def round16(v):
    return to_half(v)


encode = encoder(2, u16, round16)

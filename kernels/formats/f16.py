"""F16: IEEE binary16, little-endian."""

from ..simd import from_half, load, u16, u16x16

KIND = "float"
SIZE = 2


def values(address):
    """16 elements, as f32x16."""
    return from_half(load(u16x16, address))


def value(address):
    """One element, as f32."""
    return from_half(load(u16, address))

"""F32: IEEE binary32, little-endian."""

from ..simd import f32, f32x16, load

KIND = "float"
SIZE = 4


def values(address):
    """16 elements, as f32x16."""
    return load(f32x16, address)


def value(address):
    """One element, as f32."""
    return load(f32, address)

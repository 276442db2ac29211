"""BF16: the upper half of a binary32, little-endian."""

from ..simd import bitcast, cast, f32, from_bhalf, load, u16, u16x16, u32

KIND = "float"
SIZE = 2


def values(address):
    """16 elements, as f32x16."""
    return from_bhalf(load(u16x16, address))


def value(address):
    """One element, as f32."""
    return bitcast(f32, u32(cast(u32, load(u16, address)) << u32(16)))

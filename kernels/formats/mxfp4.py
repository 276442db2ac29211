"""MXFP4: 4-bit floats (E2M1), a power of two a block of 32 elements (17 bytes; `block_mxfp4` of ggml-common.h).

byte  0  e    the scale, 2**(e - 127) (E8M0 of the OCP Microscaling Formats specification 1.0)
      1  qs   16 bytes: byte j holds element j (low nibble) and element j + 16 (high nibble)

element = 2**(e - 128) * VALUES[q]; VALUES are the ones of E2M1 doubled, and the codes below VALUES[q] + 12
"""

from ..simd import Const, bitcast, f32, f32x16, i32x16, load, lookup16, maximum, u8, u8x16, u32
from .bits import nibble_halves, nibbles16

KIND = "block32"
BYTES, OFFSET, HAS_MIN, MAX_CODE = 17, 12, 0, 24
QS = 1
VALUES = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""`kvalues_mxfp4` of ggml-common.h."""
TABLE = Const(u8x16, tuple(value + OFFSET for value in VALUES))


def codes(a, b):
    """Elements of the blocks at a and b: u8x64."""
    return lookup16(TABLE, nibbles16(a + 1, b + 1))


def halves(qs, heads):
    """Elements 0-15 of four blocks, and 16-31: u8x64 each; see matvec_nibbles."""
    low, high = nibble_halves(qs)
    return lookup16(TABLE, low), lookup16(TABLE, high)


def factors(words):
    """Scales of sixteen blocks, f32x16, from their first four bytes, u32x16: the bits are the greater of two integers.

    The first is right from e = 2 on and not positive below, the second is right below. Comparing floats would be slow.
    """
    e = (words << 24) >> 1
    normal, subnormal = bitcast(i32x16, e - 0x00800000), bitcast(i32x16, (e >> 2) + 0x00200000)
    return bitcast(f32x16, maximum(normal, subnormal))


def scale(p):
    """2**(e - 128): subnormal for the least two exponents."""
    e = u32(load(u8, p))
    if e < u32(2):
        return bitcast(f32, u32(u32(0x00200000) << e))
    return bitcast(f32, u32((e - u32(1)) << u32(23)))


def minimum(p):
    return scale(p)

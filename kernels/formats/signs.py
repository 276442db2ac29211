"""Signs of the I-formats that store seven for eight elements: those of a super-block at once, in vector registers.

A run's are one lane of them. Where all runs are unpacked, in the matrix-vector product, they are computed once.
"""

from ..simd import bitcast, lane, u64
from ..simd.types import Vec

_u64x4 = Vec(u64, 4)


def of_words(v):
    """All 256 signs: u32x8; v: u32x8, four times seven signs in the lower 28 bits of a group's lane."""
    return with_eighths((v & 0x7F) | ((v & 0x3F80) << 1) | ((v & 0x1FC000) << 2) | ((v & 0xFE00000) << 3))


def of_run(signs, run):
    """The 64 signs of a run: u64; signs: a u32x8."""
    return lane(bitcast(_u64x4, signs), run)


def with_eighths(s):
    """Seven signs a byte to eight: the last one makes their number even (`ksigns_iq2xs` of ggml-common.h)."""
    p = s ^ (s >> 4)
    p = p ^ (p >> 2)
    p = p ^ (p >> 1)
    return s | ((p & 0x01010101) << 7)

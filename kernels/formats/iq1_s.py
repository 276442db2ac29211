"""IQ1_S: eights of ternary elements from a grid, moved by an eighth, in super-blocks of 8 groups of 32 elements.

    byte   0  d   binary16
           2  qs  32 bytes: the low bits of the numbers that pick grid entries
          34  qh  8 times 16 bits, one a group: four times the upper three bits of a number, 3 bits of scale, 1 of delta

    element of group g = d * (2 * scale[g] + 1) * (grid + 1/8), or - 1/8 where the group's delta bit is set
    (50 bytes; `block_iq1_s` of ggml-common.h). Codes count eighths.
"""

from ..simd import Lanes, bitcast, f32, gather8, i16x16, load, mask64, select, shuffle, u8, u16, u16x8, u32, u64
from .bits import half
from .grids import IQ1

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MOST = 50, 32, 9, 0, 18
_EACH_TWICE = Lanes(tuple(i // 2 for i in range(16)))


def entry(q, high, n):
    """Number n of the four of a group; high: the group's bits, moved up by 8."""
    return u32(load(u8, q + n)) | ((high >> u32(3 * n)) & u32(0x700))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    q, h = p + 2 + 8 * run, p + 34 + 4 * run
    a, b = u32(load(u16, h)) << u32(8), u32(load(u16, h + 2)) << u32(8)
    grid = gather8(
        IQ1, entry(q, a, 0), entry(q, a, 1), entry(q, a, 2), entry(q, a, 3),
        entry(q + 4, b, 0), entry(q + 4, b, 1), entry(q + 4, b, 2), entry(q + 4, b, 3),
    )  # fmt: skip
    deltas = (u64(a >> u32(23)) * u64(0xFFFFFFFF)) | ((u64(b >> u32(23)) * u64(0xFFFFFFFF)) << u64(32))
    return select(mask64(deltas), grid - 1, grid + 1)


def d(p):
    return f32(half(p) * f32(0.125))


def dmin(p):
    return d(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    v = load(u16x8, p + 34)
    return (bitcast(i16x16, shuffle(_EACH_TWICE, v, v) >> 12) & 7) * 2 + 1


def minimums(p):
    return scales(p)

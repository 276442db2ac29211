"""NVFP4: 4-bit floats (E2M1), four scales a block of 64 elements (36 bytes; `block_nvfp4` of ggml-common.h).

byte  0  d   4 scales of 16 elements, unsigned 8-bit floats (E4M3); 0x7F stands for 0
      4  qs  32 bytes: of each 8 bytes the low nibbles are elements 0-7 of a group of 16, the high ones 8-15

element = d / 2 * VALUES[q], VALUES as in MXFP4. A model multiplies results by a scale of the whole matrix, which
is a tensor of its own: `blk.0.attn_q.scale` beside `blk.0.attn_q.weight`.
"""

from ..simd import (
    Const,
    Lanes,
    bitcast,
    cast,
    constant,
    f32,
    from_half,
    i8x32,
    less,
    load,
    lookup16,
    make8,
    select,
    shuffle,
    splat,
    u8,
    u8x16,
    u8x32,
    u8x64,
    u16,
    u16x32,
    u32,
    u32x8,
    u32x16,
)
from .bits import LOW4, nibble_halves
from .mxfp4 import OFFSET as OFFSET
from .mxfp4 import TABLE

KIND = "block32"
BYTES, PER, SCALES, HAS_MIN, MAX_CODE = 36, 2, 2, 0, 24
QS = 4
_EIGHTS_TWICE = Lanes(tuple(8 * (lane // 16) + lane % 8 for lane in range(64)))
_NIBBLE_BY_8 = Const(u32x16, (0, 0, 4, 4) * 4)
# Scales 0 of four blocks, scales 2, and those of four more; then scales 1 and 3 likewise.
_BY_SCALE = Lanes(tuple(16 * b + 4 * r + g + odd for odd in (0, 1) for b in (0, 1) for g in (0, 2) for r in range(4)))
_EVEN_SCALES, _ODD_SCALES = Lanes(tuple(range(16))), Lanes(tuple(range(16, 32)))


def codes(a, i, b, j):
    """Elements of part i of the block at a and part j of that at b: u8x64."""
    v = shuffle(_EIGHTS_TWICE, load(u8x16, a + 4 + 16 * i), load(u8x16, b + 4 + 16 * j))
    return lookup16(TABLE, bitcast(u8x64, (bitcast(u32x16, v) >> constant(_NIBBLE_BY_8)) & LOW4))


def scale(p, part, group):
    """Of a group of 16 (0 or 1) of a part. The bits of an E4M3 are those of a binary16 that is 2**8 too small.

    As a binary32 it would be 2**120 too small: multiplying that is right, but many times slower where it is subnormal.
    """
    x = u32(load(u8, p + 2 * part + group))
    if x == u32(0x7F):
        return f32(0.0)
    return f32(from_half(u16((x & u32(0x7F)) << u32(7))) * f32(128.0))


def halves(qs):
    """Elements 0-7 of each group of 16 of two blocks, and 8-15, from their nibbles: u8x64 each."""
    low, high = nibble_halves(qs)
    return lookup16(TABLE, low), lookup16(TABLE, high)


def scales_of_eight(a, b, c, d, e, f, g, h):
    """Scales 0 and 2 of eight blocks, and scales 1 and 3: f32x16 each.

    Quarters: scale 0 of the first four blocks, 2 of them, 0 of the others, 2 of them.
    """
    x = bitcast(u8x32, make8(
        u32x8, load(u32, a), load(u32, b), load(u32, c), load(u32, d),
        load(u32, e), load(u32, f), load(u32, g), load(u32, h),
    ))  # fmt: skip
    x = select(less(splat(i8x32, 0x7E), bitcast(i8x32, x)), splat(u8x32, 0), x & 0x7F)
    bits = cast(u16x32, shuffle(_BY_SCALE, x, x)) << 7
    even, odd = shuffle(_EVEN_SCALES, bits, bits), shuffle(_ODD_SCALES, bits, bits)
    return from_half(even) * 128.0, from_half(odd) * 128.0

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
    f32x16,
    less,
    load,
    lookup16,
    pair,
    select,
    shuffle,
    splat,
    u8,
    u8x16,
    u8x64,
    u32,
    u32x16,
    u64,
    u64x2,
)
from .bits import LOW4
from .mxfp4 import OFFSET as OFFSET
from .mxfp4 import TABLE

KIND = "block32"
BYTES, PER, SCALES, HAS_MIN, MOST = 36, 2, 2, 0, 24
_EIGHTS_TWICE = Lanes(tuple(8 * (lane // 16) + lane % 8 for lane in range(64)))
_TURNED = Lanes(tuple(i // 4 + 4 * (i % 4) for i in range(16)))
_NIBBLE_BY_8 = Const(u32x16, (0, 0, 4, 4) * 4)


def codes(a, i, b, j):
    """Elements of part i of the block at a and part j of that at b: u8x64."""
    v = shuffle(_EIGHTS_TWICE, load(u8x16, a + 4 + 16 * i), load(u8x16, b + 4 + 16 * j))
    return lookup16(TABLE, bitcast(u8x64, (bitcast(u32x16, v) >> constant(_NIBBLE_BY_8)) & LOW4))


def scale(p, part, group):
    """Of a group of 16 (0 or 1) of a part. The bits of an E4M3 are those of a binary32 that is 2**120 too small."""
    x = u32(load(u8, p + 2 * part + group))
    if x == u32(0x7F):
        return f32(0.0)
    return f32(bitcast(f32, u32((x & u32(0x7F)) << u32(20))) * f32(2.0**119))


def scales_of_four(a, b, c, d):
    """Scales of the blocks at a, b, c, d: f32x16, lane 4 * g + j that of group g of block j."""
    first = u64(load(u32, a)) | (u64(load(u32, b)) << u64(32))
    second = u64(load(u32, c)) | (u64(load(u32, d)) << u64(32))
    v = bitcast(u8x16, pair(u64x2, first, second))
    x = cast(u32x16, shuffle(_TURNED, v, v))
    scales = bitcast(f32x16, (x & 0x7F) << 20) * 2.0**119
    zero = select(less(splat(u32x16, 0x7F), x), scales, splat(f32x16, 0.0))
    return select(less(x, splat(u32x16, 0x7F)), scales, zero)

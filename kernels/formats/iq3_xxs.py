"""IQ3_XXS: fours of elements from a grid, in super-blocks of 8 groups of 32 (98 bytes; `block_iq3_xxs`, ggml-common.h).

byte   0  d      binary16
       2  qs     64 bytes, each picks a grid entry
      66  signs  8 times 32 bits: four times seven signs, each with an eighth that makes their number even, and a
                 scale of 4 bits

element of group g = d / 4 * (2 * scale[g] + 1) * grid, or less than nothing where its sign is set
"""

from ..simd import Lanes, cast, f32, gather4, i16x16, load, shuffle, u8, u32x8
from .bits import half, signed
from .grids import IQ3_XXS
from .signs import of_run, of_words

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 98, 32, 62, 0, 124
_EACH_TWICE = Lanes(tuple(i // 2 for i in range(16)))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return signed(entries(p, p, run), of_run(signs(p), run), OFFSET)


def entries(p, y, run):
    """See matvec_grids."""
    q = p + 2 + 16 * run
    return gather4(
        IQ3_XXS, load(u8, q), load(u8, q + 1), load(u8, q + 2), load(u8, q + 3),
        load(u8, q + 4), load(u8, q + 5), load(u8, q + 6), load(u8, q + 7),
        load(u8, q + 8), load(u8, q + 9), load(u8, q + 10), load(u8, q + 11),
        load(u8, q + 12), load(u8, q + 13), load(u8, q + 14), load(u8, q + 15),
    )  # fmt: skip


def signs(p):
    """See matvec_grids."""
    return of_words(load(u32x8, p + 66))


def d(p):
    return f32(half(p) * f32(0.25))


def dmin(p):
    return d(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    v = load(u32x8, p + 66)
    return cast(i16x16, shuffle(_EACH_TWICE, v, v) >> 28) * 2 + 1


def minimums(p):
    return scales(p)

"""IQ2_XXS: eights of elements of a grid, super-blocks of 8 groups of 32 (66 bytes: `block_iq2_xxs`, ggml-common.h).

byte  0  d   binary16
      2  qs  8 bytes a group: 4 bytes pick its grid entries; then 32 bits: four times seven signs, each with an
             eighth that makes their number even, and a scale of 4 bits

element of group g = d / 8 * (2 * scale[g] + 1) * grid, or less than nothing where its sign is set
"""

from ..simd import Lanes, cast, f32, gather8, i16x16, load, shuffle, u8, u32x16
from .bits import half, signed
from .grids import IQ2_XXS
from .signs import of_run, of_words

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 66, 32, 43, 0, 86
_ODD = Lanes(tuple(range(1, 16, 2)))
_ODD_TWICE = Lanes(tuple(i | 1 for i in range(16)))


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return signed(entries(p, p, run), of_run(signs(p), run), OFFSET)


def entries(p, y, run):
    """See matvec_grids."""
    q = p + 2 + 16 * run
    return gather8(
        IQ2_XXS, load(u8, q), load(u8, q + 1), load(u8, q + 2), load(u8, q + 3),
        load(u8, q + 8), load(u8, q + 9), load(u8, q + 10), load(u8, q + 11),
    )  # fmt: skip


def signs(p):
    """See matvec_grids."""
    v = load(u32x16, p + 2)
    return of_words(shuffle(_ODD, v, v))


def d(p):
    return f32(half(p) * f32(0.125))


def dmin(p):
    return d(p)


def scales(p):
    """A scale a group of 16: i16x16."""
    v = load(u32x16, p + 2)
    return cast(i16x16, shuffle(_ODD_TWICE, v, v) >> 28) * 2 + 1


def minimums(p):
    return scales(p)

"""Levels of 4-bit floats, doubled: MXFP4 and NVFP4."""

from ..formats.mxfp4 import VALUES
from ..simd import absolute, cast, f32x16, less, load, select, splat, u8x16
from .levels import chain, middles

_LEVELS = tuple(float(v) for v in VALUES[:8])
_THRESHOLDS = middles(_LEVELS)
LEVEL = chain(_THRESHOLDS, _LEVELS)
_NUMBER = chain(_THRESHOLDS, tuple(float(i) for i in range(8)))


def codes(x, inverse):
    """Numbers of the levels of 16 elements, with 8 where they are negative: u8x16."""
    v = load(f32x16, x) * inverse
    number = _NUMBER(absolute(v))
    return cast(u8x16, select(less(v, splat(f32x16, 0.0)), number + 8.0, number))

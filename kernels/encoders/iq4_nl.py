"""IQ4_NL from floats: a scale a block of 32, its sign free, for 16 levels that are not evenly spaced."""

from ..formats.iq4_nl import VALUES
from ..simd import cast, f32x16, load, store, u8x16
from .levels import chain, inverse_of, middles, search
from .one_scale import encoder

SIGMA = 2.0
_THRESHOLDS = middles(VALUES)
LEVEL = chain(_THRESHOLDS, tuple(float(v) for v in VALUES))
NUMBER = chain(_THRESHOLDS, tuple(float(i) for i in range(16)))
CANDIDATES = (-127.0, -121.0, -133.0, -115.0, -140.0, -108.0, 113.0, 106.0, 120.0, 98.0)


def codes(x, scale, out):
    """The 16 bytes of 32 elements."""
    inverse = inverse_of(scale)
    low = cast(u8x16, NUMBER(load(f32x16, x) * inverse))
    high = cast(u8x16, NUMBER(load(f32x16, x + 64) * inverse))
    store(out, low | (high << 4))


def pack(x, scale, out):
    codes(x, scale, out + 2)


encode = encoder(18, 32, 0, search(32, LEVEL, CANDIDATES, 2), pack)

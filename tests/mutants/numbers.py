"""Numbers that files are wrong by."""

from __future__ import annotations

import math
from random import Random

from tests.gguf.build import BOOL, I8, I16, I32, I64, U8, U16, U32, U64

RANGES = {
    U8: (0, 2**8 - 1), I8: (-(2**7), 2**7 - 1), U16: (0, 2**16 - 1), I16: (-(2**15), 2**15 - 1), U32: (0, 2**32 - 1),
    I32: (-(2**31), 2**31 - 1), U64: (0, 2**64 - 1), I64: (-(2**63), 2**63 - 1), BOOL: (0, 255),
}  # fmt: skip
FAR = (0, -1, 2**7, 2**8, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
NEAR = (0, 1, 1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 8, 12, 16, 16, 24, 32, 48, 63, 64, 65, 96, 100, 128, 255, 256, 1000, 4096)
FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-5, 1e-20, 1e-45, 1e10, 1e30, 3.4e38, -3.4e38, 1e300, math.inf, -math.inf,
    math.nan,
)  # fmt: skip


def another_integer(rng: Random, value: int) -> int:
    """Near it, far from it, small, or a bit apart."""
    how = rng.randrange(8)
    if how < 3:
        return rng.choice(NEAR)
    if how == 3:
        return rng.choice(FAR)
    if how == 4:
        return value ^ (1 << rng.randrange(40))
    return rng.choice(
        (value - 1, value + 1, value * 2, value // 2, value * 3, -value, value + 8, value - 8, value * 2**32)
    )


def another_float(rng: Random, value: float) -> float:
    how = rng.randrange(3)
    if how == 0:
        return rng.choice(FLOATS)
    if how == 1:
        return float(rng.choice(NEAR))
    return rng.choice((-value, value * 2, value / 2, value * 1000, value / 1000, value + 1))

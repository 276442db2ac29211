"""The greatest few of many floats: they are mapped to integers of the same order, among which a bound is found by
bisection."""

from .math import lanes_from
from .simd import bitcast, f32, f32x16, hsum, i32x16, i64, less, load, select, splat, store
from .vectors import first_lanes

_LEAST = -(1 << 31)


def are_finite(x, n):
    """All of n floats are finite numbers."""
    wrong = splat(f32x16, 0.0)
    for i in range(0, n, 16):
        wrong = wrong + first_lanes(load(f32x16, x + 4 * i), n - i) * 0.0
    return hsum(wrong) == f32(0.0)


def to_ranks(x, n):
    """n finite floats to integers (i32) of the same order, in place; the least behind them to the end of the vector."""
    for i in range(0, n, 16):
        bits = bitcast(i32x16, load(f32x16, x + 4 * i))
        rank = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        store(x + 4 * i, select(less(lanes_from(i), splat(i32x16, n)), rank, splat(i32x16, _LEAST)))


def bound_of(x, n, top_k):
    """The greatest number that `top_k` of n ranks or more reach, and how many that are equal to it belong to the
    `top_k`."""
    low, high = i64(_LEAST), i64(-_LEAST - 1)
    while low < high:
        middle = (low + high + 1) >> 1
        if above(x, n, middle - 1) >= top_k:
            low = middle
        else:
            high = middle - 1
    return low, top_k - above(x, n, low)


def above(x, n, bound):
    """How many ranks are above a bound."""
    total = splat(i32x16, 0)
    for i in range(0, n, 16):
        v = load(i32x16, x + 4 * i)
        total = total + select(less(splat(i32x16, bound), v), splat(i32x16, 1), splat(i32x16, 0))
    return i64(hsum(total))

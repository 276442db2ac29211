"""Super-blocks without minimums (Q3_K, Q6_K): an element is d * scale[g] * code, scales of either sign.

Each group's best scale is found first (symmetric). They are then rounded to whole multiples of d: neighbours are tried
with the codes that they give, and d fitted to the outcome, twice. The 16 groups are searched side by side.
"""

from ..simd import absolute, f32x16, fma, less, load, maximum, minimum, select, splat, store
from .lanes import (
    clamped,
    greatest,
    inverse,
    is_nothing,
    multiply,
    power_of,
    spread_max,
    spread_sum,
    stored,
    transpose,
)
from .symmetric import search

_W = 1024
_sum, _max = spread_sum(16), spread_max(16)


def levels(low, high, least, most, starts, tries):
    """f(x, w, scale, power): whole numbers from least to most, and d, of 16 groups of 16."""

    def judge(x, w, s):
        """Error for a scale, and the sums of w x code and w code**2."""
        one = inverse(s)
        error, xl, ll = splat(f32x16, 0.0), splat(f32x16, 0.0), splat(f32x16, 0.0)
        for j in range(16):
            v, a = load(f32x16, x + 64 * j), load(f32x16, w + 64 * j)
            code = clamped(v * one, low, high)
            off, weighted = v - code * s, code * a
            error, xl, ll = fma(off * off, a, error), fma(weighted, v, xl), fma(weighted, code, ll)
        return error, xl, ll

    def choose(x, w, d, centre):
        """Numbers near centre, the super-block's error, and d of the least error for the codes."""
        best, number = splat(f32x16, 1e30), centre
        xl, ll = splat(f32x16, 0.0), splat(f32x16, 0.0)
        for step in tries:
            candidate = minimum(maximum(centre + step, splat(f32x16, least)), splat(f32x16, most))
            error, a, b = judge(x, w, candidate * d)
            better = less(error, best)
            best, number = select(better, error, best), select(better, candidate, number)
            xl, ll = select(better, a, xl), select(better, b, ll)
        return _sum(best), number, _sum(number * xl) * inverse(_sum(number * number * ll))

    def find(x, w, scale, power):
        zero = splat(f32x16, 0.0)
        top, bottom = _max(scale), _max(zero - scale)
        # The end of the greater range is for the greatest scale.
        widest = select(less(top, bottom), bottom, zero - top) * (-1.0 / least)
        best, d, number, refit = splat(f32x16, 1e30), zero, zero, zero
        for factor in starts:
            other = stored(widest * factor, power)
            error, k, again = choose(x, w, other, clamped(scale * inverse(other), least, most))
            better = less(error, best)
            best, d, number = select(better, error, best), select(better, other, d), select(better, k, number)
            refit = select(better, again, refit)
        for _ in range(2):
            other = stored(refit, power)
            error, k, again = choose(x, w, other, number)
            better = less(error, best)
            best, d, number = select(better, error, best), select(better, other, d), select(better, k, number)
            refit = again
        return number, d

    return find


def encoder(size, low, high, least, most, candidates, refinements, starts, tries, pack):
    """The `encode` of a format. pack(x, made, out): made: f32 [3][16]: d * number, number, d."""
    find, settle = search(16, low, high, candidates, refinements), levels(low, high, least, most, starts, tries)

    def encode(x, w, out, n, scratch):
        lanes, made = scratch, scratch + 2 * _W
        for b in range(n):
            transpose(x + 1024 * b, 16, 16, lanes)
            transpose(w + 1024 * b, 16, 16, lanes + _W)
            top = greatest(lanes, 16)
            most_of_all = _max(absolute(top))
            power = power_of(most_of_all)
            multiply(lanes, 16, splat(f32x16, 1.0) / power)
            scale = find(lanes, lanes + _W, top / power)
            number, d = settle(lanes, lanes + _W, scale, power)
            d = select(is_nothing(most_of_all), splat(f32x16, 0.0), d * power)
            store(made, number * d)
            store(made + 64, number)
            store(made + 128, d)
            pack(x + 1024 * b, made, out + size * b)

    return encode

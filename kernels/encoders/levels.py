"""The scale of a group whose elements are scale * level, for any levels: the search is that of symmetric.py."""

from itertools import pairwise

from ..simd import absolute, f32, f32x16, less, load, select, splat, store
from .lanes import inverse


def chain(thresholds, results):
    """f(v): of as many thresholds (ascending) as are below v, the result of that number."""

    def lowest(v):
        return splat(f32x16, results[0])

    f = lowest
    for threshold, result in zip(thresholds, results[1:], strict=True):
        f = _link(f, threshold, result)
    return f


def _link(before, threshold, result):
    def f(v):
        return select(less(splat(f32x16, threshold), v), splat(f32x16, result), before(v))

    return f


def middles(levels):
    """The thresholds between levels that ascend."""
    return tuple((a + b) / 2 for a, b in pairwise(levels))


def sums(group, level_of):
    """f(x, w, inverse): of 16 groups the sums of w x level and of w level**2, for the levels of x * inverse.

    x, w: f32 [group][16].
    """

    def of(x, w, inverse_):
        xl, ll = splat(f32x16, 0.0), splat(f32x16, 0.0)
        for j in range(group):
            v = load(f32x16, x + 64 * j)
            level = level_of(v * inverse_)
            weighted = level * load(f32x16, w + 64 * j)
            xl, ll = xl + weighted * v, ll + weighted * level
        return xl, ll

    return of


def search(group, level_of, candidates, refinements):
    """f(x, w, top): the scale of 16 groups; x of magnitudes below 2; top: lanes.greatest of x.

    candidates: what the greatest element is divided by its scale, before it gets a level.
    """
    of = sums(group, level_of)

    def find(x, w, top):
        best, scale = splat(f32x16, 0.0), splat(f32x16, 0.0)
        one = inverse(top)
        for candidate in candidates:
            xl, ll = of(x, w, one * candidate)
            found = xl * inverse(ll)
            gain = found * xl
            better = less(best, gain)
            best, scale = select(better, gain, best), select(better, found, scale)
        for _ in range(refinements):
            xl, ll = of(x, w, inverse(scale))
            found = xl * inverse(ll)
            gain = found * xl
            better = less(best, gain)
            best, scale = select(better, gain, best), select(better, found, scale)
        return scale

    return find


def gain_of(xl, ll, scale):
    """By how much a given scale makes the error smaller than that of zeros."""
    return (xl + xl - scale * ll) * scale


def magnitudes(x, n):
    """The magnitudes of f32 [n][16], in place."""
    for j in range(n):
        store(x + 64 * j, absolute(load(f32x16, x + 64 * j)))


def inverse_of(scale):
    """1 / scale of a scalar, and 0 of 0."""
    if scale == f32(0.0):
        return f32(0.0)
    return f32(f32(1.0) / scale)

"""Scale and minimum of a group whose elements are scale * code + low, codes from 0 to `high`.

With the codes known, scale and low of the least sum of w (x - scale code - low)**2 solve two linear equations.
Candidates (as make_qkx3_quants of llama.cpp's ggml-quants.c tries them) give codes; the best ones give scale and low,
from which codes are taken anew, while that helps.
"""

from ..simd import f32x16, fma, less, load, maximum, minimum, select, splat, store
from .lanes import clamped, inverse


def bounds(x, group):
    """The least and the greatest element of each lane, of x: f32 [group][16]."""
    low, top = load(f32x16, x), load(f32x16, x)
    for j in range(1, group):
        v = load(f32x16, x + 64 * j)
        low, top = minimum(v, low), maximum(v, top)
    return low, top


def raised(x, w, group, low, factor, weighted=True):
    """x: f32 [group][16] becomes x * factor - low, in place. Returns the sums of w, w x, w x**2 after that."""
    shift = splat(f32x16, 0.0) - low
    sw, sx, sxx = splat(f32x16, 0.0), splat(f32x16, 0.0), splat(f32x16, 0.0)
    for j in range(group):
        v, a = fma(load(f32x16, x + 64 * j), factor, shift), splat(f32x16, 1.0)
        store(x + 64 * j, v)
        if weighted:
            a = load(f32x16, w + 64 * j)
        much = v * a
        sw, sx, sxx = sw + a, sx + much, fma(much, v, sxx)
    return sw, sx, sxx


def sums(group, high, weighted=True):
    """f(x, w, factor, shift): sums of w code, w code**2, w code x, for the codes nearest to x * factor + shift."""

    def of(x, w, factor, shift):
        l1, l2, xl = splat(f32x16, 0.0), splat(f32x16, 0.0), splat(f32x16, 0.0)
        for j in range(group):
            v = load(f32x16, x + 64 * j)
            code = clamped(fma(v, factor, shift), 0.0, high)
            much = code
            if weighted:
                much = code * load(f32x16, w + 64 * j)
            l1, l2, xl = l1 + much, fma(much, code, l2), fma(much, v, xl)
        return l1, l2, xl

    return of


def fit(l1, l2, xl, sw, sx, sxx, limit):
    """Scale, low and error of the best fit to the codes with these sums, low at most `limit`."""
    det = sw * l2 - l1 * l1
    one = inverse(det)
    # Codes that are all the same leave the equations undetermined: low is then at its limit.
    low = select(less(l2 * sw * 1e-6, det), (l2 * sx - l1 * xl) * one, limit)
    scale = (sw * xl - sx * l1) * one
    bounded = less(low, limit)
    low = select(bounded, low, limit)
    scale = select(bounded, scale, (xl - limit * l1) * inverse(l2))
    error = sxx - scale * (xl + xl - scale * l2) - low * (sx + sx - low * sw - scale * (l1 + l1))
    return scale, low, error


def given_scale(group, high, weighted=True):
    """f(x, w, scale, low, sw, sx): the best low for a scale, and for the codes that it gives with the `low` at hand."""
    of = sums(group, high, weighted)

    def refit(x, w, scale, low, sw, sx):
        one = inverse(scale)
        l1, _, _ = of(x, w, one, low * one * -1.0)
        return (sx - scale * l1) / sw

    return refit


def search(group, high, candidates, refinements, weighted=True):
    """f(x, w, span, limit, of_all): scale and low of 16 groups; x: f32 [group][16] from 0 to span; low is at most
    `limit`; of_all: the sums that `raised` gives.

    candidates: pairs of codes, not whole ones, that the least element and the greatest one get.
    """
    of = sums(group, high, weighted)

    def find(x, w, span, limit, of_all):
        sw, sx, sxx = of_all
        low = minimum(sx / sw, limit)
        scale = splat(f32x16, 0.0)
        best = sxx - low * (sx + sx - low * sw)
        one = inverse(span)
        for first, last in candidates:
            l1, l2, xl = of(x, w, one * (last - first), splat(f32x16, first))
            s, m, error = fit(l1, l2, xl, sw, sx, sxx, limit)
            better = less(error, best)
            best, scale, low = select(better, error, best), select(better, s, scale), select(better, m, low)
        for _ in range(refinements):
            one = inverse(scale)
            l1, l2, xl = of(x, w, one, low * one * -1.0)
            s, m, error = fit(l1, l2, xl, sw, sx, sxx, limit)
            better = less(error, best)
            best, scale, low = select(better, error, best), select(better, s, scale), select(better, m, low)
        return scale, low

    return find

"""The scale of a group whose elements are scale * code, codes from `low` to `high`: the search of several formats.

With the codes known, the least sum of w (x - scale code)**2 has the scale sum(w x code) / sum(w code**2), and the sum
is smaller than that of w x**2 by sum(w x code)**2 / sum(w code**2), the gain. Candidates of a scale give codes; the
codes of the greatest gain give the scale, from which codes are taken anew (make_qx_quants of llama.cpp's ggml-quants.c
tries candidates likewise, of one sign).
"""

from ..simd import f32x16, fma, less, load, select, splat
from .lanes import inverse, nearest_code


def gains(group, low, high, weighted=True):
    """f(x, w, inverse): gain and scale of 16 groups, lane by lane, for the codes that x * inverse gives.

    weighted: false where all weights are 1, and w is not read."""

    def of(x, w, inverse_):
        zero = splat(f32x16, 0.0)
        xl, ll = zero, zero
        for j in range(group):
            v = load(f32x16, x + 64 * j)
            code = nearest_code(v, inverse_, low, high)
            much = code
            if weighted:
                much = code * load(f32x16, w + 64 * j)
            xl, ll = fma(much, v, xl), fma(much, code, ll)
        scale = xl * inverse(ll)
        return scale * xl, scale

    return of


def search(group, low, high, candidates, refinements, weighted=True):
    """f(x, w, top): the scale of 16 groups; x, w: f32 [group][16], x of magnitudes below 2; top: lanes.greatest of x.

    candidates: codes, not whole ones, that the greatest element gets.
    """
    of = gains(group, low, high, weighted)

    def find(x, w, top):
        best, scale = splat(f32x16, 0.0), splat(f32x16, 0.0)
        one = inverse(top)
        for candidate in candidates:
            gain, found = of(x, w, one * candidate)
            better = less(best, gain)
            best, scale = select(better, gain, best), select(better, found, scale)
        for _ in range(refinements):
            gain, found = of(x, w, inverse(scale))
            better = less(best, gain)
            best, scale = select(better, gain, best), select(better, found, scale)
        return scale

    return find

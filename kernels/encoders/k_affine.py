"""Super-blocks with minimums (Q2_K, Q4_K, Q5_K): an element is d * scale[g] * code - dmin * minimum[g].

Each group's best scale and minimum are found first (affine). They are then rounded to whole multiples of d and dmin:
neighbours are tried with the codes that they give, and d and dmin fitted to the outcome, twice. Sixteen groups, of one
super-block or two, are searched side by side.
"""

from ..simd import absolute, f32x16, fma, less, load, maximum, minimum, select, splat, store
from .affine import bounds, raised, search, sums
from .lanes import clamped, inverse, power_of, spread_max, spread_sum, stored, transpose

_W = 4096


def levels(group, high, most, tries):
    """f(x, w, least, scale, low, power, of_all): scale and minimum numbers (up to `most`), d and dmin of 16 groups."""
    of = sums(group, high)
    per = 256 // group
    sum_of, max_of = spread_sum(per), spread_max(per)

    def error_of(x, w, s, m):
        """Sum of w (x + m - s code)**2."""
        one, total = inverse(s), splat(f32x16, 0.0)
        for j in range(group):
            v = load(f32x16, x + 64 * j) + m
            off = v - clamped(v * one, 0.0, high) * s
            total = fma(off * off, load(f32x16, w + 64 * j), total)
        return total

    def choose(x, w, least, d, dmin, centre, m, sw, sx):
        """Numbers of scale and minimum near centre, and their error. m: the minimum wanted."""
        best, scale, number = splat(f32x16, 1e30), centre, centre
        back = inverse(dmin)
        for step in tries:
            candidate = minimum(maximum(centre + step, splat(f32x16, 0.0)), splat(f32x16, most))
            s = candidate * d
            one = inverse(s)
            l1, _, _ = of(x, w, one, (least + m) * one)
            wanted = (s * l1 - sx) / sw - least
            k = clamped(wanted * back, 0.0, most)
            error = error_of(x, w, s, least + k * dmin)
            better = less(error, best)
            best, scale, number = (
                select(better, error, best),
                select(better, candidate, scale),
                select(better, k, number),
            )
        return best, scale, number

    def refit(x, w, least, scale, number, d, dmin, sw, sx):
        """d and dmin of the least error for the codes that these numbers give."""
        s = scale * d
        one = inverse(s)
        l1, l2, xl = of(x, w, one, (least + number * dmin) * one)
        xl, sx = xl + least * l1, sx + least * sw
        a, b, c = sum_of(scale * scale * l2), sum_of(scale * number * l1), sum_of(number * number * sw)
        e, f = sum_of(scale * xl), sum_of(number * sx)
        det = a * c - b * b
        sound = less(a * c * 1e-5, det)
        one = inverse(det)
        d_of_both, dmin_of_both = (e * c - b * f) * one, (b * e - a * f) * one
        return select(sound, d_of_both, (e + dmin * b) * inverse(a)), select(sound, dmin_of_both, dmin)

    def find(x, w, least, scale, low, power, of_all):
        sw, sx, _ = of_all
        zero = splat(f32x16, 0.0)
        m = maximum(zero - least - low, zero)
        d, dmin = stored(max_of(scale) / most, power), stored(max_of(m) / most, power)
        best, k, number = choose(x, w, least, d, dmin, clamped(scale * inverse(d), 0.0, most), m, sw, sx)
        best = sum_of(best)
        for _ in range(2):
            d2, dmin2 = refit(x, w, least, k, number, d, dmin, sw, sx)
            d2, dmin2 = stored(maximum(d2, zero), power), stored(maximum(dmin2, zero), power)
            error, k2, number2 = choose(x, w, least, d2, dmin2, k, m, sw, sx)
            error = sum_of(error)
            better = less(error, best)
            best, d, dmin = select(better, error, best), select(better, d2, d), select(better, dmin2, dmin)
            k, number = select(better, k2, k), select(better, number2, number)
        return k, number, d, dmin

    return find


def encoder(size, group, high, most, candidates, refinements, tries, pack):
    """The `encode` of a format. pack(x, lanes, out): see there; lanes: f32 [4][groups of a super-block], scales
    d * scale, minimums dmin * minimum, then their numbers, then d and dmin."""
    find, settle = search(group, high, candidates, refinements), levels(group, high, most, tries)
    per = 256 // group
    per_tile = 16 // per
    max_of = spread_max(per)

    def encode(x, w, out, n, scratch):
        lanes, made = scratch, scratch + 2 * _W
        zero = splat(f32x16, 0.0)
        for first in range(0, n, per_tile):
            here = min(per_tile, n - first)
            transpose(x + 1024 * first, group, here * per, lanes)
            transpose(w + 1024 * first, group, here * per, lanes + _W)
            least, top = bounds(lanes, group)
            power = power_of(max_of(maximum(absolute(least), absolute(top))))
            one = splat(f32x16, 1.0) / power
            least, top = minimum(least, zero) * one, top * one
            of_all = raised(lanes, lanes + _W, group, least, one)
            scale, low = find(lanes, lanes + _W, top - least, zero - least, of_all)
            k, number, d, dmin = settle(lanes, lanes + _W, least, scale, low, power, of_all)
            d, dmin = d * power, dmin * power
            store(made, k * d)
            store(made + 64, number * dmin)
            store(made + 128, k)
            store(made + 192, number)
            store(made + 256, d)
            store(made + 320, dmin)
            for b in range(here):
                pack(x + 1024 * (first + b), made + 4 * per * b, out + size * (first + b))

    return encode

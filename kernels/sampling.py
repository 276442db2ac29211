"""What choosing a token asks of a whole row of logits: weights with their sums, moments, sums up to distances."""

from .math import LANE_NUMBERS, exp16
from .simd import (
    Struct,
    absolute,
    cast,
    constant,
    f32,
    f32x16,
    f64,
    hmax,
    hsum,
    less,
    load,
    maximum,
    select,
    splat,
    store,
)
from .thread import claim

WeighParams = Struct("Weigh", ("n", "x", "weights", "sums"))
"""x, weights: f32 [n], n at least 16. sums: f64 [3]: the greatest of x; the sum of the weights e**(x - greatest), which
are 0 below e**-87; the sum of weight times x - greatest."""
MomentsParams = Struct("Moments", ("n", "x", "sums"))
"""x: f32 [n], n at least 16. sums: f64 [3], of what is not -inf: how many, their mean, the sum of the squares of their
distances from it."""
WithinParams = Struct("Within", ("n", "x", "weights", "center", "limits", "sums"))
"""x, weights: f32 [n], n at least 16. center: address of an f32; limits: f32 [16]. sums: f64 [16]: the weights of what
lies nearer to the center than each limit."""
CollectParams = Struct("Collect", ("n", "x", "center", "near", "between", "counts"))
"""x: f32 [n], n at least 16. center: address of f32 [3]: the center, and two distances from it. near, between: int64
[n], the first of them set: places nearer than the first distance, and others nearer than the second. counts: int64 [2],
how many."""

_CHUNK = 16 * 64
"""Elements whose sum is made in f32, in 16 lanes."""
_LEAST = -87.0
_NONE = float("-inf")


def weigh():
    """One thread does it all."""

    def kernel(params, thread):
        if claim(thread, 1) == 0:
            p = WeighParams(params)
            whole = p.n // 16 * 16
            top = splat(f32x16, f32(_NONE))
            for i in range(0, whole, 16):
                top = maximum(load(f32x16, p.x + 4 * i), top)
            greatest = hmax(maximum(load(f32x16, p.x + 4 * (p.n - 16)), top))
            store(p.sums, f64(greatest))
            total, product = f64(0.0), f64(0.0)
            for first in range(0, whole, _CHUNK):
                sums, products = splat(f32x16, 0.0), splat(f32x16, 0.0)
                for i in range(first, min(first + _CHUNK, whole), 16):
                    below = load(f32x16, p.x + 4 * i) - greatest
                    weight = _weight(below)
                    store(p.weights + 4 * i, weight)
                    sums = sums + weight
                    products = products + weight * maximum(below, splat(f32x16, _LEAST))
                total += f64(hsum(sums))
                product += f64(hsum(products))
            if whole < p.n:
                at = p.n - 16
                below = load(f32x16, p.x + 4 * at) - greatest
                weight = _weight(below)
                store(p.weights + 4 * at, weight)
                weight = _from(weight, whole - at)
                total += f64(hsum(weight))
                product += f64(hsum(weight * maximum(below, splat(f32x16, _LEAST))))
            store(p.sums + 8, total)
            store(p.sums + 16, product)

    return kernel


def moments():
    """One thread does it all."""

    def kernel(params, thread):
        if claim(thread, 1) == 0:
            p = MomentsParams(params)
            whole, end = p.n // 16 * 16, p.n - 16
            total, count = f64(0.0), f64(0.0)
            for first in range(0, whole, _CHUNK):
                sums, counts = splat(f32x16, 0.0), splat(f32x16, 0.0)
                for i in range(first, min(first + _CHUNK, whole), 16):
                    x = load(f32x16, p.x + 4 * i)
                    sums = sums + _finite(x, x)
                    counts = counts + _finite(x, splat(f32x16, 1.0))
                total += f64(hsum(sums))
                count += f64(hsum(counts))
            if whole < p.n:
                x = load(f32x16, p.x + 4 * end)
                total += f64(hsum(_from(_finite(x, x), whole - end)))
                count += f64(hsum(_from(_finite(x, splat(f32x16, 1.0)), whole - end)))
            mean = total / max(count, f64(1.0))
            squares = f64(0.0)
            for first in range(0, whole, _CHUNK):
                sums = splat(f32x16, 0.0)
                for i in range(first, min(first + _CHUNK, whole), 16):
                    sums = sums + _square(load(f32x16, p.x + 4 * i), f32(mean))
                squares += f64(hsum(sums))
            if whole < p.n:
                squares += f64(hsum(_from(_square(load(f32x16, p.x + 4 * end), f32(mean)), whole - end)))
            store(p.sums, count)
            store(p.sums + 8, mean)
            store(p.sums + 16, squares)

    return kernel


def within():
    """One thread does it all."""

    def kernel(params, thread):
        if claim(thread, 1) == 0:
            p = WithinParams(params)
            whole, end = p.n // 16 * 16, p.n - 16
            center = load(f32, p.center)
            for j in range(16):
                sums = splat(f32x16, 0.0)
                if whole < p.n:
                    weight = _from(load(f32x16, p.weights + 4 * end), whole - end)
                    sums = _nearer(absolute(load(f32x16, p.x + 4 * end) - center), p.limits + 4 * j, weight)
                store(p.sums + 8 * j, f64(hsum(sums)))
            for first in range(0, whole, _CHUNK):
                for j in range(0, 16, 4):
                    a = b = c = d = splat(f32x16, 0.0)
                    limits, sums = p.limits + 4 * j, p.sums + 8 * j
                    for i in range(first, min(first + _CHUNK, whole), 16):
                        weight = load(f32x16, p.weights + 4 * i)
                        distance = absolute(load(f32x16, p.x + 4 * i) - center)
                        a = a + _nearer(distance, limits, weight)
                        b = b + _nearer(distance, limits + 4, weight)
                        c = c + _nearer(distance, limits + 8, weight)
                        d = d + _nearer(distance, limits + 12, weight)
                    _add(sums, a)
                    _add(sums + 8, b)
                    _add(sums + 16, c)
                    _add(sums + 24, d)

    return kernel


def collect():
    """One thread does it all. Scalars are stored whether they count or not: guesses at a branch would cost more."""

    def kernel(params, thread):
        if claim(thread, 1) == 0:
            p = CollectParams(params)
            center, low, high = load(f32, p.center), load(f32, p.center + 4), load(f32, p.center + 8)
            n_near = n_between = 0
            for first in range(0, p.n, 16):
                apart = absolute(load(f32x16, p.x + 4 * min(first, p.n - 16)) - center)
                if -hmax(splat(f32x16, 0.0) - apart) < high:
                    for i in range(first, min(first + 16, p.n)):
                        x = load(f32, p.x + 4 * i) - center
                        distance = max(x, f32(0.0) - x)
                        store(p.near + 8 * n_near, i)
                        store(p.between + 8 * n_between, i)
                        is_near = distance < low
                        n_near += is_near
                        n_between += (distance < high) & ~is_near
            store(p.counts, n_near)
            store(p.counts + 8, n_between)

    return kernel


def _weight(below):
    return select(less(below, splat(f32x16, _LEAST)), splat(f32x16, 0.0), exp16(below))


def _from(v, first):
    """v, but 0 in the lanes before the first one that counts."""
    before = less(cast(f32x16, constant(LANE_NUMBERS)), splat(f32x16, f32(first)))
    return select(before, splat(f32x16, 0.0), v)


def _finite(x, v):
    """v where x is not -inf, else 0."""
    return select(less(splat(f32x16, f32(_NONE)), x), v, splat(f32x16, 0.0))


def _square(x, mean):
    apart = _finite(x, x - mean)
    return apart * apart


def _nearer(distance, limit, weight):
    return select(less(distance, splat(f32x16, load(f32, limit))), weight, splat(f32x16, 0.0))


def _add(address, sums):
    store(address, load(f64, address) + f64(hsum(sums)))

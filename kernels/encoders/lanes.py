"""Sixteen groups of elements side by side, one a lane: searches for their scales then need no sums across lanes."""

from ..simd import (
    Lanes,
    absolute,
    bitcast,
    f32x16,
    fma,
    from_half,
    i32x16,
    less,
    load,
    maximum,
    minimum,
    select,
    shuffle,
    splat,
    store,
    to_half,
)

_MAGIC = 12582912.0
"""1.5 * 2**23: added to a float below 2**22 it leaves the nearest integer in the low bits."""
_GREATEST_HALF, _LEAST_HALF = 65504.0, 2.0**-24
_EXPONENT = 0x7F800000
_LEAST = 1e-15
"""Groups with no greater magnitude count as zeros (GROUP_MAX_EPS of llama.cpp): no scale of 16 bits is as small."""


def _keep(d):
    """Of rows i and i + d: the lanes of the transposed row i, and of i + d."""
    low = Lanes(tuple(i if i & d == 0 else 16 + i - d for i in range(16)))
    return low, Lanes(tuple(i + d if i & d == 0 else 16 + i for i in range(16)))


_LOW1, _HIGH1 = _keep(1)
_LOW2, _HIGH2 = _keep(2)
_LOW4, _HIGH4 = _keep(4)
_LOW8, _HIGH8 = _keep(8)


def _four(a, b, c, e, low, high, lower, higher):
    """Two stages of a transposition for four rows, those of distance d and of 2 d."""
    a, b, c, e = shuffle(low, a, b), shuffle(high, a, b), shuffle(low, c, e), shuffle(high, c, e)
    return shuffle(lower, a, c), shuffle(lower, b, e), shuffle(higher, a, c), shuffle(higher, b, e)


def square(x, stride, n, out):
    """16 elements of 16 groups, `stride` bytes apart, to out: f32 [element][group]. The last of n < 16 is repeated."""
    for i in range(0, 16, 4):
        a, b = load(f32x16, x + stride * min(i, n - 1)), load(f32x16, x + stride * min(i + 1, n - 1))
        c, e = load(f32x16, x + stride * min(i + 2, n - 1)), load(f32x16, x + stride * min(i + 3, n - 1))
        a, b, c, e = _four(a, b, c, e, _LOW1, _HIGH1, _LOW2, _HIGH2)
        store(out + 64 * i, a)
        store(out + 64 * i + 64, b)
        store(out + 64 * i + 128, c)
        store(out + 64 * i + 192, e)
    for i in range(4):
        at = out + 64 * i
        a, b, c, e = load(f32x16, at), load(f32x16, at + 256), load(f32x16, at + 512), load(f32x16, at + 768)
        a, b, c, e = _four(a, b, c, e, _LOW4, _HIGH4, _LOW8, _HIGH8)
        store(at, a)
        store(at + 256, b)
        store(at + 512, c)
        store(at + 768, e)


def transpose(x, group, n, out):
    """n groups of `group` elements (a multiple of 16), one after another, to out: f32 [group][16]."""
    for part in range(0, group, 16):
        square(x + 4 * part, 4 * group, n, out + 64 * part)


def greatest(x, group):
    """The element of the greatest magnitude of each lane, of x: f32 [group][16]."""
    top = load(f32x16, x)
    for j in range(1, group):
        v = load(f32x16, x + 64 * j)
        top = select(less(absolute(top), absolute(v)), v, top)
    return top


def power_of(top):
    """The power of two at or below each magnitude, from 2**-50 to 2**126: by it elements are brought to 1 to 2."""
    bits = bitcast(f32x16, bitcast(i32x16, absolute(top)) & _EXPONENT)
    return minimum(maximum(bits, splat(f32x16, 2.0**-50)), splat(f32x16, 2.0**126))


def multiply(x, group, factor):
    """Each element of f32 [group][16] by its lane's factor, in place."""
    for j in range(group):
        store(x + 64 * j, load(f32x16, x + 64 * j) * factor)


def nearest(v):
    """Nearest integers, even ones at a tie, as floats; for magnitudes below 2**22."""
    return (v + _MAGIC) - _MAGIC


def clamped(v, low, high):
    """Nearest integers from low to high, as floats."""
    return nearest(minimum(maximum(v, splat(f32x16, low)), splat(f32x16, high)))


def nearest_code(v, factor, low, high):
    """Nearest integers to v * factor, from low to high, as floats: one operation less than `clamped`."""
    rounded = fma(v, factor, splat(f32x16, _MAGIC))
    return minimum(maximum(rounded, splat(f32x16, _MAGIC + low)), splat(f32x16, _MAGIC + high)) - _MAGIC


def inverse(v):
    """1 / v, and 0 of 0."""
    zero = splat(f32x16, 0.0)
    return select(less(zero, absolute(v)), splat(f32x16, 1.0) / v, zero)


def stored(v, power):
    """A scale as it is when v * power has been stored in 16 bits."""
    return half_scale(v * power)[1] / power


def half_scale(v):
    """As `half`, but the least magnitude instead of 0 for what is not 0: with fewer codes, something is left."""
    tiny, zero = splat(f32x16, _LEAST_HALF), splat(f32x16, 0.0)
    least = select(less(v, zero), zero - tiny, tiny)
    v = select(less(absolute(v), tiny), select(less(zero, absolute(v)), least, zero), v)
    return half(v)


def half(v):
    """Scales as they are stored: nearest binary16, the greatest finite one for more: bits, and what they mean."""
    bounded = minimum(maximum(v, splat(f32x16, -_GREATEST_HALF)), splat(f32x16, _GREATEST_HALF))
    bits = to_half(bounded)
    return bits, from_half(bits)


_BY1, _BY2, _BY4, _BY8 = (Lanes(tuple(i ^ d for i in range(16))) for d in (1, 2, 4, 8))


def spread_sum(n):
    """f(v): in every lane the sum of its n = 8 or 16 neighbours."""

    def of(v):
        v = v + shuffle(_BY4, v, v)
        v = v + shuffle(_BY2, v, v)
        v = v + shuffle(_BY1, v, v)
        if n == 16:
            v = v + shuffle(_BY8, v, v)
        return v

    return of


def spread_max(n):
    """f(v): in every lane the greatest of its n = 8 or 16 neighbours."""

    def of(v):
        v = maximum(v, shuffle(_BY4, v, v))
        v = maximum(v, shuffle(_BY2, v, v))
        v = maximum(v, shuffle(_BY1, v, v))
        if n == 16:
            v = maximum(v, shuffle(_BY8, v, v))
        return v

    return of


def is_nothing(top):
    """A mask of the lanes that count as zeros."""
    return less(absolute(top), splat(f32x16, _LEAST))

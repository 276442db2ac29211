"""Functions of vectors, by operations that give the same bits on every target with FMA.

None of them hides what is no number or infinite: where an argument is, the result is no finite number (but for exp16 of
an infinity). So it reaches the logits, where it is found (localllm.model.finite).
"""

from .simd import (
    Const,
    absolute,
    bitcast,
    cast,
    constant,
    f32,
    f32x16,
    fma,
    i32x16,
    less,
    maximum,
    minimum,
    select,
    splat,
)

LANE_NUMBERS = Const(i32x16, tuple(range(16)))

_MAGIC = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer
_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4


def exp16(x):
    """e**x for f32x16, to 2 ulp, for x from -87.33 to 88.37; past an end the value there: 1.2e-38, 2.4e38. NaN stays.

    Coefficients: Cephes, expf.
    """
    x = minimum(splat(f32x16, 88.37), maximum(splat(f32x16, -87.33), x))
    rounded = fma(x, splat(f32x16, _LOG2E), splat(f32x16, _MAGIC))
    n = rounded - _MAGIC
    x = fma(n, splat(f32x16, -_LN2_HIGH), x)
    x = fma(n, splat(f32x16, -_LN2_LOW), x)
    y = fma(_series(x), x * x, x) + 1.0
    power = (cast(i32x16, n) + 127) << 23
    return y * bitcast(f32x16, power)


def _series(x):
    """(e**x - 1 - x) / x**2, near 0."""
    y = splat(f32x16, 1.9875691500e-4)
    y = fma(y, x, splat(f32x16, 1.3981999507e-3))
    y = fma(y, x, splat(f32x16, 8.3334519073e-3))
    y = fma(y, x, splat(f32x16, 4.1665795894e-2))
    y = fma(y, x, splat(f32x16, 1.6666665459e-1))
    y = fma(y, x, splat(f32x16, 5.0000001201e-1))
    return y


def exp_rest16(x):
    """e**x - 1 - x for x <= 0, to 1e-6 of its value or 1e-7: near 0 by exp16's polynomial, less its last step."""
    return select(less(splat(f32x16, -0.34), x), _series(x) * x * x, exp16(x) - 1.0 - x)


def bounded(x):
    """x, but not so far below 0 that divided by exp16's greatest value it would count for something. NaN stays."""
    return maximum(splat(f32x16, -1e4), x)


def silu16(x):
    """x / (1 + e**-x)."""
    b = bounded(x)
    return b / (exp16(splat(f32x16, 0.0) - b) + 1.0) + nan_of(x)


def gelu16(x):
    """The tanh form of GELU: x / (1 + e**(-2u)), u = sqrt(2/pi) (x + 0.044715 x**3)."""
    b = bounded(x)
    u = b * (b * b * 0.044715 + 1.0) * 0.7978845608028654
    return b / (exp16(u * -2.0) + 1.0) + nan_of(x)


def nan_of(x):
    """0 with the sign of x, or NaN where x is no finite number: added to what would hide that."""
    return x * 0.0


def sigmoid16(x):
    """1 / (1 + e**-x)."""
    return splat(f32x16, 1.0) / (exp16(splat(f32x16, 0.0) - x) + 1.0) + nan_of(x)


def tanh16(x):
    """Odd, and exact near 0: x (1 - e**-2|x|) / (|x| (1 + e**-2|x|)), by a polynomial below 0.625 (Cephes, tanhf)."""
    a = absolute(x)
    e = exp16(a * -2.0)
    large = (splat(f32x16, 1.0) - e) / (e + 1.0)
    large = select(less(x, splat(f32x16, 0.0)), splat(f32x16, 0.0) - large, large)
    z = x * x
    y = splat(f32x16, -5.70498872745e-3)
    y = fma(y, z, splat(f32x16, 2.06390887954e-2))
    y = fma(y, z, splat(f32x16, -5.37397155531e-2))
    y = fma(y, z, splat(f32x16, 1.33314422036e-1))
    y = fma(y, z, splat(f32x16, -3.33332819422e-1))
    return select(less(a, splat(f32x16, 0.625)), fma(y * z, x, x), large) + nan_of(x)


def log1p16(x):
    """log(1 + x) for 0 <= x <= 1: an odd polynomial of x / (x + 2), to 2 ulp."""
    s = x / (x + 2.0)
    z = s * s
    y = splat(f32x16, 0.15384615384615385)
    y = fma(y, z, splat(f32x16, 0.18181818181818182))
    y = fma(y, z, splat(f32x16, 0.2222222222222222))
    y = fma(y, z, splat(f32x16, 0.2857142857142857))
    y = fma(y, z, splat(f32x16, 0.4))
    y = fma(y, z, splat(f32x16, 0.6666666666666666))
    return fma(y * z, s, s * 2.0)


def softplus16(x):
    """log(1 + e**x)."""
    return maximum(x, splat(f32x16, 0.0)) + log1p16(exp16(absolute(x) * -1.0)) + nan_of(x)


def lanes_from(first):
    """first, first + 1, ...: i32x16."""
    return constant(LANE_NUMBERS) + first


def bounded_by(x, limit):
    """-limit to limit, or NaN where x is no finite number."""
    return minimum(maximum(x, splat(f32x16, f32(-limit))), splat(f32x16, limit)) + nan_of(x)

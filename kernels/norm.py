"""RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) and LayerNorm (Ba et al. 2016, arXiv 1607.06450), over rows or
over the heads of rows."""

from .simd import (
    Struct,
    bitcast,
    f32,
    f32x16,
    f64,
    fma,
    hsum,
    i32,
    i64,
    load,
    splat,
    sqrt,
    store,
)
from .thread import claim

Params = Struct(
    "Norm", ("n_rows_at", "gather", "heads", "n", "x", "stride", "w", "b", "eps", "add", "out", "out_stride")
)
"""out = normed x * w + b (+ add), for `heads` stretches of n floats in each row. n_rows_at: address of the number of
rows; gather: address of their numbers in x (int32), or 0 for all in order; w, b: f32 [n] or 0; eps: bits of f64; add:
rows like out's, or 0; may be out. x may be out."""


def rms():
    """Normed x is x / sqrt(mean(x**2) + eps). Threads claim rows, one head at a time."""
    return _kernel(rms_scale)


def layer():
    """Normed x is (x - mean(x)) / sqrt(mean((x - mean(x))**2) + eps)."""
    return _kernel(layer_scale)


def _kernel(scale_of):
    def kernel(params, thread):
        p = Params(params)
        n_rows = load(i64, p.n_rows_at)
        unit = claim(thread, 1)
        while unit < n_rows * p.heads:
            row, head = unit // p.heads, unit % p.heads
            source = row
            if p.gather != 0:
                source = i64(load(i32, p.gather + 4 * row))
            at = row * p.out_stride + head * p.n * 4
            add = i64(0)
            if p.add != 0:
                add = p.add + at
            x = p.x + source * p.stride + head * p.n * 4
            shift, scale = scale_of(x, p.n, f32(bitcast(f64, p.eps)))
            apply(x, p.n, shift, scale, p.w, p.b, add, p.out + at)
            unit = claim(thread, 1)

    return kernel


def rms_scale(x, n, eps):
    """(what is taken off, what the rest is multiplied by)."""
    return f32(0.0), root_of(squares(x, n, f32(0.0)), n, eps)


def layer_scale(x, n, eps):
    mean = mean_of(x, n)
    return mean, root_of(squares(x, n, mean), n, eps)


def root_of(total, n, eps):
    """1 / sqrt(total / n + eps); NaN, not 0, where the squares have outgrown f32."""
    return f32(f32(f32(1.0) / sqrt(f32(f32(total / f32(n)) + eps))) + f32(total * f32(0.0)))


def mean_of(x, n):
    whole = n // 16 * 16
    a = splat(f32x16, 0.0)
    for i in range(0, whole, 16):
        a = a + load(f32x16, x + 4 * i)
    total = hsum(a)
    for i in range(whole, n):
        total = f32(total + load(f32, x + 4 * i))
    return f32(total / f32(n))


def squares(x, n, mean):
    """Sum of (x - mean)**2."""
    whole = n // 16 * 16
    a = splat(f32x16, 0.0)
    for i in range(0, whole, 16):
        v = load(f32x16, x + 4 * i) - mean
        a = fma(v, v, a)
    total = hsum(a)
    for i in range(whole, n):
        v = f32(load(f32, x + 4 * i) - mean)
        total = f32(total + f32(v * v))
    return total


def apply(x, n, shift, scale, w, b, add, out):
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        v = (load(f32x16, x + 4 * i) - shift) * scale
        if w != 0:
            v = v * load(f32x16, w + 4 * i)
        if b != 0:
            v = v + load(f32x16, b + 4 * i)
        if add != 0:
            v = v + load(f32x16, add + 4 * i)
        store(out + 4 * i, v)
    for i in range(whole, n):
        v = f32(f32(load(f32, x + 4 * i) - shift) * scale)
        if w != 0:
            v = f32(v * load(f32, w + 4 * i))
        if b != 0:
            v = f32(v + load(f32, b + 4 * i))
        if add != 0:
            v = f32(v + load(f32, add + 4 * i))
        store(out + 4 * i, v)

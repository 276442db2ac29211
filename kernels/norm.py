"""RMSNorm over rows, or over the heads of rows (Zhang and Sennrich 2019, arXiv 1910.07467)."""

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

Params = Struct("RmsNorm", ("n_rows_at", "gather", "heads", "n", "x", "stride", "w", "eps", "add", "out", "out_stride"))
"""out = x / sqrt(mean(x**2) + eps) * w (+ add), for `heads` stretches of n floats in each row. n_rows_at: address of
the number of rows; gather: address of their numbers in x (int32), or 0 for all in order; w: f32 [n]; eps: bits of f64;
add: rows like out's, or 0; may be out. x may be out."""


def rms():
    """Threads claim rows, one head at a time."""

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
            one(p.x + source * p.stride + head * p.n * 4, p.n, p.w, f32(bitcast(f64, p.eps)), add, p.out + at)
            unit = claim(thread, 1)

    return kernel


def one(x, n, w, eps, add, out):
    whole = n // 16 * 16
    a = splat(f32x16, 0.0)
    for i in range(0, whole, 16):
        v = load(f32x16, x + 4 * i)
        a = fma(v, v, a)
    total = hsum(a)
    for i in range(whole, n):
        v = load(f32, x + 4 * i)
        total = f32(total + f32(v * v))
    scale = f32(f32(1.0) / sqrt(f32(f32(total / f32(n)) + eps)))
    for i in range(0, whole, 16):
        v = load(f32x16, x + 4 * i) * scale * load(f32x16, w + 4 * i)
        if add != 0:
            v = v + load(f32x16, add + 4 * i)
        store(out + 4 * i, v)
    for i in range(whole, n):
        v = f32(f32(load(f32, x + 4 * i) * scale) * load(f32, w + 4 * i))
        if add != 0:
            v = f32(v + load(f32, add + 4 * i))
        store(out + 4 * i, v)

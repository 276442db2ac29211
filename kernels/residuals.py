"""Attention residuals (Kimi K3's model card; llama.cpp's kimi-k3.cpp): a block reads a mixture of the residual stream
and of what it was at some earlier layers, weighed by a softmax over scores of each.
"""

from .math import exp16, nan_of
from .pieces import of_all
from .simd import Struct, bitcast, f32, f32x16, f64, fma, hsum, i64, lane, load, splat, sqrt, store
from .thread import Thread, claim
from .vectors import put

KeepParams = Struct("KeepResidual", ("n_rows_at", "n", "x", "out"))
"""out = x, then x = 0: f32 [n_rows, n]."""

MixParams = Struct("MixResiduals", ("n_rows_at", "n", "x", "kept", "kept_stride", "n_kept", "w", "eps", "out"))
"""x: f32 [n_rows, n], the stream; kept: n_kept earlier ones, kept_stride bytes apart; w: f32 [n]; eps: bits of f64. The
score of each is the sum of w times it normed (RMSNorm); out: their sum, each times its share of the softmax over the
scores. out may be x."""

_PIECE = 1024


def keep():
    def piece(p, first, last, scratch):
        for i in range(first, last, 16):
            put(p.out + 4 * i, load(f32x16, p.x + 4 * i), last - i, scratch)
            put(p.x + 4 * i, splat(f32x16, 0.0), last - i, scratch)

    return of_all(KeepParams, _PIECE, piece)


def mix():
    """Threads claim rows."""

    def kernel(params, thread):
        p = MixParams(params)
        n_rows, shares = load(i64, p.n_rows_at), Thread(thread).scratch
        row = claim(thread, 1)
        while row < n_rows:
            at = row * p.n * 4
            weigh(p, at, shares)
            whole = p.n // 16 * 16
            for i in range(0, whole, 16):
                total = load(f32x16, p.x + at + 4 * i) * load(f32, shares + 4 * p.n_kept)
                for k in range(p.n_kept):
                    v = load(f32x16, p.kept + k * p.kept_stride + at + 4 * i)
                    total = fma(v, splat(f32x16, load(f32, shares + 4 * k)), total)
                store(p.out + at + 4 * i, total)
            for i in range(whole, p.n):
                e = f32(load(f32, p.x + at + 4 * i) * load(f32, shares + 4 * p.n_kept))
                for k in range(p.n_kept):
                    v = load(f32, p.kept + k * p.kept_stride + at + 4 * i)
                    e = f32(e + f32(v * load(f32, shares + 4 * k)))
                store(p.out + at + 4 * i, e)
            row = claim(thread, 1)

    def weigh(p, at, shares):
        """The shares of what was kept, then that of the stream."""
        eps = f32(bitcast(f64, p.eps))
        greatest = score(p.x + at, p.w, p.n, eps)
        store(shares + 4 * p.n_kept, greatest)
        for k in range(p.n_kept):
            s = score(p.kept + k * p.kept_stride + at, p.w, p.n, eps)
            store(shares + 4 * k, s)
            greatest = max(greatest, s)
        total = f32(0.0)
        for k in range(p.n_kept + 1):
            s = load(f32, shares + 4 * k)
            e = lane(exp16(splat(f32x16, f32(s - greatest))) + nan_of(splat(f32x16, s)), 0)
            store(shares + 4 * k, e)
            total = f32(total + e)
        for k in range(p.n_kept + 1):
            store(shares + 4 * k, f32(load(f32, shares + 4 * k) / total))

    def score(x, w, n, eps):
        whole = n // 16 * 16
        squares, products = splat(f32x16, 0.0), splat(f32x16, 0.0)
        for i in range(0, whole, 16):
            v = load(f32x16, x + 4 * i)
            squares = fma(v, v, squares)
            products = fma(v, load(f32x16, w + 4 * i), products)
        square, product = hsum(squares), hsum(products)
        for i in range(whole, n):
            v = load(f32, x + 4 * i)
            square = f32(square + f32(v * v))
            product = f32(product + f32(v * load(f32, w + 4 * i)))
        return f32(product / sqrt(f32(f32(square / f32(n)) + eps)))

    return kernel

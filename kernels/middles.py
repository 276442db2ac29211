"""Products with the middles of activations, beside those with codes.

With high precision codes hold what 32 neighbours differ from their middle, the mean of the least and the greatest:
see quantize. A product is w @ (x - middle) + sums(w) @ middle, with the sums of 32 neighbours in each row of weights,
which are made once. The products with codes stay as they are.
"""

from . import embed
from .quantize import MIDDLE, middle
from .simd import (
    Struct,
    f32,
    f32x16,
    fma,
    from_half,
    hsum,
    i64,
    lane,
    load,
    prefetch,
    splat,
    store,
    to_half,
    u16x16,
)
from .thread import Step, Thread, claim

SumsParams = Struct("GroupSums", ("w", "row_bytes", "n", "k", "out"))
"""w: n rows of k elements; out: the sums of MIDDLE neighbours, f16 [n / 16, rounded up][k / MIDDLE][16]."""

Params = Struct("Middles", ("n_rows_at", "n", "k", "x", "middles", "sums", "add", "out", "step"))
"""What middles bring to products, f32 rows of n: (add[t, i]) + the sum over g of middles[t, g] * (sum g of row i), g in
order. out 0: the logits of the step; add: rows like out's, or 0; it may be out. middles: f32 [n_rows, k / MIDDLE], or
0: they are taken from x, f32 [n_rows, k]; sums: f16 [n / 16, rounded up][k / MIDDLE][16]."""

_AHEAD = 1024
"""Bytes that sums are prefetched ahead, where a token reads them once."""
_PIECE = 4096
"""Elements of a row that are dequantized at a time."""
_COLUMNS = 16
"""Vectors of columns that a thread claims, with _TOKENS rows at most."""
_TOKENS = 64


def sums(fmt: str):
    """Of weights in this format, not of floats. Threads claim 16 rows."""
    fill = embed.row(fmt)

    def kernel(params, thread):
        p = SumsParams(params)
        x = Thread(thread).scratch
        made = x + 4 * _PIECE
        unit = claim(thread, 1)
        while unit < (p.n + 15) // 16:
            for first in range(0, p.k, _PIECE):
                size = min(_PIECE, p.k - first)
                for i in range(16):
                    row = p.w + min(16 * unit + i, p.n - 1) * p.row_bytes
                    fill(row + p.row_bytes * first // p.k, size, x, f32(1.0))
                    for g in range(size // MIDDLE):
                        both = load(f32x16, x + 128 * g) + load(f32x16, x + 128 * g + 64)
                        store(made + 64 * g + 4 * i, f32(hsum(both)))
                for g in range(size // MIDDLE):
                    place = p.out + (p.k // MIDDLE * unit + first // MIDDLE + g) * 32
                    store(place, to_half(load(f32x16, made + 64 * g)))
            unit = claim(thread, 1)

    return kernel


def first():
    """out is what middles bring, before a product adds to it. Threads claim columns of some rows."""
    return _brought(False)


def last():
    """It is added to out, which holds a product."""
    return _brought(True)


def _brought(to_out):
    def kernel(params, thread):
        p = Params(params)
        out, add = p.out, p.add
        if out == 0:
            out = Step(p.step).logits
        if to_out:
            add = out
        n_rows, size = load(i64, p.n_rows_at), 16 * _COLUMNS
        across = (p.n + size - 1) // size
        unit = claim(thread, 1)
        while unit < (n_rows + _TOKENS - 1) // _TOKENS * across:
            column, row = unit % across * size, unit // across * _TOKENS
            end, last_column = min(row + _TOKENS, n_rows), min(column + size, p.n)
            while row < end:
                count = min(4, end - row)
                m = p.middles + row * (p.k // MIDDLE) * 4
                if p.middles == 0:
                    m = Thread(thread).scratch
                    for t in range(count):
                        take(p.x + 4 * (row + t) * p.k, p.k, m + t * (p.k // MIDDLE) * 4)
                columns(p, out, add, m, row, count, column, last_column)
                row += count
            unit = claim(thread, 1)

    def take(x, k, m):
        for g in range(k // MIDDLE):
            store(m + 4 * g, middle(load(f32x16, x + 128 * g), load(f32x16, x + 128 * g + 64)))

    def columns(p, out, add, m, row, count, column, end):
        """Of 1 to 4 rows."""
        n, stride = p.k // MIDDLE, 4 * p.n
        for i in range(column, end - 15, 16):
            w, at = p.sums + 2 * i * n, 4 * (row * p.n + i)
            if count == 4:
                four(w, n, m, start(add, at), start(add, at + stride), start(add, at + 2 * stride),
                     start(add, at + 3 * stride), out + at, stride)  # fmt: skip
            else:
                for t in range(count):
                    store(out + at + t * stride, one(w, n, m + 4 * t * n, start(add, at + t * stride)))
        i = end // 16 * 16
        if i < end:  # fewer than a vector: behind them another row begins
            for t in range(count):
                total = one(p.sums + 2 * i * n, n, m + 4 * t * n, splat(f32x16, 0.0))
                for j in range(end - i):
                    at = 4 * ((row + t) * p.n + i + j)
                    value = lane(total, j)
                    if add != 0:
                        value = f32(load(f32, add + at) + value)
                    store(out + at, value)

    def start(add, at):
        if add != 0:
            return load(f32x16, add + at)
        return splat(f32x16, 0.0)

    def four(w, n, m, a, b, c, d, out, stride):
        for g in range(n):
            v = from_half(load(u16x16, w + 32 * g))
            a = fma(splat(f32x16, load(f32, m + 4 * g)), v, a)
            b = fma(splat(f32x16, load(f32, m + 4 * (g + n))), v, b)
            c = fma(splat(f32x16, load(f32, m + 4 * (g + 2 * n))), v, c)
            d = fma(splat(f32x16, load(f32, m + 4 * (g + 3 * n))), v, d)
        store(out, a)
        store(out + stride, b)
        store(out + 2 * stride, c)
        store(out + 3 * stride, d)

    def one(w, n, m, total):
        for g in range(n):
            prefetch(w + 32 * g + _AHEAD)
            total = fma(splat(f32x16, load(f32, m + 4 * g)), from_half(load(u16x16, w + 32 * g)), total)
        return total

    return kernel

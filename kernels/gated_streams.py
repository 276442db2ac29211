"""Several residual streams whose elements have gates (Qwen 3.8 Flash Next; llama.cpp's qwen4exp.cpp): a block reads the
mean of the normed streams, each element times a gate; its result goes to each stream by a weight.
"""

from .math import sigmoid16
from .pieces import of_rows
from .simd import Struct, f32, f32x16, fma, i64, lane, load, splat
from .thread import Thread, claim
from .vectors import put

CollapseParams = Struct("StreamsCollapse", ("n_rows_at", "n", "count", "x", "gate", "out", "zero"))
"""out = mean over the streams of x * sigmoid(gate): x, gate f32 [n_rows][count][n]; out f32 [n_rows, n]. zero: f32
[n_rows, n] to be filled with zeros, or 0."""

SpreadParams = Struct("StreamsSpread", ("n_rows_at", "n", "count", "y", "weights", "x"))
"""x[c] += 2 * sigmoid(weights[c] / count) * y: x f32 [n_rows][count][n]; weights f32 [n_rows][count]; y f32 [n_rows,
n]."""

_PIECE = 512


def collapse():
    def piece(p, row, first, last, scratch):
        share = f32(f32(1.0) / f32(p.count))
        for i in range(first, last, 16):
            total = splat(f32x16, 0.0)
            for c in range(p.count):
                at = ((row * p.count + c) * p.n + i) * 4
                total = fma(load(f32x16, p.x + at), sigmoid16(load(f32x16, p.gate + at)), total)
            put(p.out + (row * p.n + i) * 4, total * share, p.n - i, scratch)
            if p.zero != 0:
                put(p.zero + (row * p.n + i) * 4, splat(f32x16, 0.0), p.n - i, scratch)

    return of_rows(CollapseParams, _PIECE, piece)


def spread():
    """Threads claim rows' streams."""

    def kernel(params, thread):
        p = SpreadParams(params)
        n_rows, scratch = load(i64, p.n_rows_at), Thread(thread).scratch
        unit = claim(thread, 1)
        while unit < n_rows * p.count:
            weight = sigmoid16(splat(f32x16, f32(load(f32, p.weights + 4 * unit) / f32(p.count))))
            y, x, twice = p.y + unit // p.count * p.n * 4, p.x + unit * p.n * 4, f32(lane(weight, 0) * f32(2.0))
            for i in range(0, p.n, 16):
                v = fma(load(f32x16, y + 4 * i), splat(f32x16, twice), load(f32x16, x + 4 * i))
                put(x + 4 * i, v, p.n - i, scratch)
            unit = claim(thread, 1)

    return kernel

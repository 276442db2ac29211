"""Gaussian top-k of a gate (Gemma 3n; llama.cpp's gemma3n.cpp, after You et al. 2025, arXiv 2506.06644): of a row's
activations, taken to be normally distributed, only what lies above a quantile is left."""

from .math import gelu16
from .norm import mean_of, squares
from .simd import Struct, bitcast, f32, f32x16, f64, i64, lane, load, maximum, splat, sqrt, store
from .thread import claim

Params = Struct("SparseGate", ("n_rows_at", "n", "gate", "up", "out", "deviations"))
"""out = gelu(max(gate - cutoff, 0)) * up; f32 [n_rows, n], n above 1; cutoff: a row's mean plus `deviations` (bits of
f64) of its standard deviations. out may be gate."""


def gated():
    """Threads claim rows."""

    def kernel(params, thread):
        p = Params(params)
        n_rows = load(i64, p.n_rows_at)
        row = claim(thread, 1)
        while row < n_rows:
            gate, up, out = p.gate + row * p.n * 4, p.up + row * p.n * 4, p.out + row * p.n * 4
            point = cutoff(gate, p.n, f32(bitcast(f64, p.deviations)))
            whole = p.n // 16 * 16
            for i in range(0, whole, 16):
                store(out + 4 * i, above(load(f32x16, gate + 4 * i), point) * load(f32x16, up + 4 * i))
            for i in range(whole, p.n):
                v = above(splat(f32x16, load(f32, gate + 4 * i)), point)
                store(out + 4 * i, f32(lane(v, 0) * load(f32, up + 4 * i)))
            row = claim(thread, 1)

    return kernel


def cutoff(x, n, deviations):
    mean = mean_of(x, n)
    total = squares(x, n, mean)
    return f32(f32(mean + f32(sqrt(f32(total / f32(n - 1))) * deviations)) + f32(total * f32(0.0)))


def above(x, point):
    return gelu16(maximum(splat(f32x16, 0.0), x - point))

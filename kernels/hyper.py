"""Hyper-connections (Zhu et al. 2024, arXiv 2409.19606), constrained to a manifold (Xie et al. 2025, arXiv 2512.24880):
four residual streams in place of one. Each block reads a weighted sum of them, and its result is spread over them while
they are mixed; the weights come from the streams themselves. Steps as in llama.cpp's ggml_dsv4_hc_* (ops.cpp).
"""

from .math import LANE_NUMBERS, exp16, nan_of, sigmoid16
from .pieces import of_rows
from .simd import (
    Const,
    Lanes,
    Struct,
    bitcast,
    cast,
    constant,
    f32,
    f32x16,
    f64,
    fma,
    i32x16,
    i64,
    less,
    load,
    maximum,
    select,
    shuffle,
    splat,
    store,
)
from .thread import Thread, claim
from .vectors import put

STREAMS = 4
MIXES = (2 + STREAMS) * STREAMS
"""Weights of a row: of the sum that a block reads [4], of its result in each stream [4], of each stream in each
[4 from][4 to]."""

WeightsParams = Struct("HyperWeights", ("n_rows_at", "mixes", "scale", "base", "eps", "n_iter", "out"))
"""mixes, out: f32 [n_rows][MIXES]; scale, base: f32 [MIXES]; eps: bits of f64; n_iter: of Sinkhorn, 1 or more."""

GatesParams = Struct("HyperGates", ("n_rows_at", "mixes", "scale", "base", "eps", "magnitude", "out"))
"""mixes: f32 [n_rows][2 * STREAMS]; scale, base: f32 [16], of which 2 * STREAMS count; eps, magnitude: bits of f64;
out: f32 [n_rows][MIXES], in which each stream stays as it is."""

ReduceParams = Struct("HyperReduce", ("n_rows_at", "n", "x", "weights", "stride", "out", "zero"))
"""out = sum of weights[i] * x[i]: x f32 [n_rows][STREAMS][n]; weights: rows of 4 (or more) f32, `stride` bytes apart,
0 where all are the same; out: f32 [n_rows, n]. zero: f32 [n_rows, n] to be filled with zeros, or 0."""

HeadParams = Struct("HyperHead", ("n_rows_at", "mixes", "scale", "base", "eps", "out"))
"""mixes, out: f32 [n_rows][STREAMS]; scale, base: f32 [16], of which STREAMS count; eps: bits of f64."""

MixParams = Struct("HyperMix", ("n_rows_at", "n", "y", "weights", "x"))
"""x[to] = post[to] * y + sum of comb[from][to] * x[from], in place: x f32 [n_rows][STREAMS][n]; y f32 [n_rows, n];
weights: f32 [n_rows][MIXES]."""

_PIECE = 512
_IDENTITY = Const(i32x16, tuple(int(i % (STREAMS + 1) == 0) for i in range(STREAMS * STREAMS)))

# Lanes of comb: 4 from + to. Neighbours in a quarter are sums over `to`, quarters side by side over `from`.
_SWAP1, _SWAP2, _SWAP4, _SWAP8 = (Lanes(tuple(i ^ step for i in range(16))) for step in (1, 2, 4, 8))


def weights():
    """Threads claim rows, 8 at a time."""

    def kernel(params, thread):
        p = WeightsParams(params)
        n_rows, eps = load(i64, p.n_rows_at), f32(bitcast(f64, p.eps))
        first = claim(thread, 8)
        while first < n_rows:
            for row in range(first, min(first + 8, n_rows)):
                x, out = p.mixes + row * MIXES * 4, p.out + row * MIXES * 4
                gates = sigmoid16(affine(x, p.scale, p.base))
                is_of_sum = less(constant(LANE_NUMBERS), splat(i32x16, STREAMS))
                store(out, select(is_of_sum, gates + eps, gates + gates))
                at = 2 * STREAMS * 4
                store(out + at, sinkhorn(affine(x + at, p.scale + at, p.base + at), eps, p.n_iter))
            first = claim(thread, 8)

    return kernel


def gates():
    """Weights where streams are independent (llama.cpp's hy-v4.cpp). Threads claim rows."""

    def kernel(params, thread):
        p = GatesParams(params)
        n_rows, eps, magnitude = load(i64, p.n_rows_at), f32(bitcast(f64, p.eps)), f32(bitcast(f64, p.magnitude))
        row = claim(thread, 1)
        while row < n_rows:
            out = p.out + row * MIXES * 4
            v = sigmoid16(affine(p.mixes + row * 2 * STREAMS * 4, p.scale, p.base))
            is_of_sum = less(constant(LANE_NUMBERS), splat(i32x16, STREAMS))
            store(out, select(is_of_sum, v, v * magnitude) + eps)
            store(out + 2 * STREAMS * 4, cast(f32x16, constant(_IDENTITY)))
            row = claim(thread, 1)

    return kernel


def affine(x, scale, base):
    return load(f32x16, x) * load(f32x16, scale) + load(f32x16, base)


def sinkhorn(v, eps, n_iter):
    """A softmax of each stream's four, then Sinkhorn iterations: sums over `from` and `to` approach 1."""
    greatest = maximum(v, shuffle(_SWAP1, v, v))
    greatest = maximum(greatest, shuffle(_SWAP2, greatest, greatest))
    e = exp16(v - greatest) + nan_of(v)
    e = e / over_to(e) + eps
    e = e / (over_from(e) + eps)
    for _ in range(1, n_iter):
        e = e / (over_to(e) + eps)
        e = e / (over_from(e) + eps)
    return e


def over_to(v):
    v = v + shuffle(_SWAP1, v, v)
    return v + shuffle(_SWAP2, v, v)


def over_from(v):
    v = v + shuffle(_SWAP4, v, v)
    return v + shuffle(_SWAP8, v, v)


def head():
    """Weights of the last sum. Threads claim rows."""

    def kernel(params, thread):
        p = HeadParams(params)
        n_rows, eps = load(i64, p.n_rows_at), f32(bitcast(f64, p.eps))
        row = claim(thread, 1)
        while row < n_rows:
            v = sigmoid16(affine(p.mixes + row * STREAMS * 4, p.scale, p.base)) + eps
            put(p.out + row * STREAMS * 4, v, STREAMS, Thread(thread).scratch)
            row = claim(thread, 1)

    return kernel


def reduce():
    def piece(p, row, first, last, scratch):
        w, x = p.weights + row * p.stride, p.x + row * STREAMS * p.n * 4
        a, b, c, d = four(w)
        for i in range(first, last, 16):
            u, v, y, z = streams(x + 4 * i, p.n)
            put(p.out + (row * p.n + i) * 4, fma(z, d, fma(y, c, fma(v, b, u * a))), p.n - i, scratch)
            if p.zero != 0:
                put(p.zero + (row * p.n + i) * 4, splat(f32x16, 0.0), p.n - i, scratch)

    return of_rows(ReduceParams, _PIECE, piece)


def four(at):
    """Four neighbouring floats, each in all lanes."""
    return (
        splat(f32x16, load(f32, at)), splat(f32x16, load(f32, at + 4)),
        splat(f32x16, load(f32, at + 8)), splat(f32x16, load(f32, at + 12)),
    )  # fmt: skip


def streams(at, n):
    """The same 16 elements of each stream."""
    return (
        load(f32x16, at), load(f32x16, at + 4 * n), load(f32x16, at + 8 * n), load(f32x16, at + 12 * n)
    )  # fmt: skip


def mix():
    def piece(p, row, first, last, scratch):
        w, x = p.weights + row * MIXES * 4, p.x + row * STREAMS * p.n * 4
        for i in range(first, last, 16):
            result = load(f32x16, p.y + (row * p.n + i) * 4)
            u, v, y, z = streams(x + 4 * i, p.n)
            for to in range(STREAMS):
                post, comb = load(f32, w + 16 + 4 * to), w + 32 + 4 * to
                total = fma(u, splat(f32x16, load(f32, comb)), result * post)
                total = fma(v, splat(f32x16, load(f32, comb + 16)), total)
                total = fma(y, splat(f32x16, load(f32, comb + 32)), total)
                total = fma(z, splat(f32x16, load(f32, comb + 48)), total)
                put(x + (to * p.n + i) * 4, total, p.n - i, scratch)

    return of_rows(MixParams, _PIECE, piece)

"""AltUp, alternating updates (Baykal et al. 2023, arXiv 2301.13310), as Gemma 3n has it (llama.cpp's gemma3n.cpp).

The residual stream is N streams of n floats a row, one of them the active one: "streams" are planes f32 [N][n_rows][n],
`plane` bytes apart. A layer predicts all of them by a mixture whose weights come from the active one (`route`,
`predict`), its blocks read the active prediction, and their result corrects all predictions (`route`, `correct`). N is
known at compile time. A row's results do not depend on the other rows.
"""

from .math import tanh16
from .norm import apply, rms_scale, squares
from .pieces import of_rows
from .simd import (
    Struct,
    bitcast,
    f32,
    f32x16,
    f64,
    fma,
    hsum,
    i64,
    load,
    splat,
    sqrt,
    store,
    tile_fill,
    tile_fma,
    tile_load,
    tile_multiply,
    tile_store,
)
from .thread import Thread, claim

StartParams = Struct("AltupStart", ("n_rows_at", "n", "plane", "x", "streams"))
"""x: f32 [n_rows, n], which becomes stream 0; the others get its magnitude, in place."""

RouteParams = Struct("AltupRoute", ("n_rows_at", "n", "x", "router", "eps", "weights", "n_out", "plus", "out"))
"""x: f32 [n_rows, n]; router: f32 [N][n], the norm's weights in it; eps: of the norm (bits of f64); weights: f32 [N][
n_out]; n_out: a multiple of 16; plus: bits of f64; out: f32 [n_rows, n_out], which becomes
tanh(router . rms_norm(x)) . weights + plus."""

PredictParams = Struct(
    "AltupPredict", ("n_rows_at", "n", "plane", "streams", "mixture", "row", "out", "active", "copy")
)
"""out[b] = streams[b] + sum over a of mixture[b, a] * streams[a]; mixture: f32 [N][N] a row, `row` bytes apart; copy:
f32 [n_rows, n], gets out[active]."""

CorrectParams = Struct(
    "AltupCorrect", ("n_rows_at", "n", "plane", "predictions", "x", "gains", "row", "active", "out", "scale", "scaled")
)
"""out[b] = predictions[b] + gains[b] * (x - predictions[active]); x: f32 [n_rows, n]; gains: f32 [N] a row, `row` bytes
apart; scaled: f32 [n_rows, n], gets out[active] * scale; scale: f32 [n]."""

SpreadParams = Struct("AltupSpread", ("n_rows_at", "n", "plane", "x", "w", "eps", "streams"))
"""rms_norm(x) * w is added to all streams but the first; x: f32 [n_rows, n], which is overwritten; w: f32 [n]."""

EndParams = Struct("AltupEnd", ("n_rows_at", "n", "plane", "streams", "others", "active", "out"))
"""out: f32 [n_rows, n], the mean of stream 0 and of `others`, planes [N - 1], each with the magnitude of the active
stream."""

_PIECE = 512
"""Elements of a row that are a unit of work."""


def start(N: int):
    """Threads claim rows."""

    def kernel(params, thread):
        p = StartParams(params)
        n_rows = load(i64, p.n_rows_at)
        row = claim(thread, 1)
        while row < n_rows:
            x, first = p.x + row * p.n * 4, p.streams + row * p.n * 4
            power = squares(x, p.n, f32(0.0))
            copy(x, f32(1.0), i64(0), p.n, first)
            for j in range(1, N):
                y = first + j * p.plane
                copy(y, gain(power, y, p.n), i64(0), p.n, y)
            row = claim(thread, 1)

    return kernel


def gain(power, y, n):
    """What gives y the sum of squares `power`; nothing can where it is all zeros. NaN, not 0, where its own sum has
    outgrown f32."""
    own = squares(y, n, f32(0.0))
    if own == f32(0.0):
        return f32(0.0)
    return f32(f32(sqrt(power) / sqrt(own)) + f32(own * f32(0.0)))


def copy(x, factor, add, n, out):
    """out = factor * x (+ add)."""
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        v = load(f32x16, x + 4 * i) * factor
        if add != 0:
            v = v + load(f32x16, add + 4 * i)
        store(out + 4 * i, v)
    for i in range(whole, n):
        e = f32(load(f32, x + 4 * i) * factor)
        if add != 0:
            e = f32(e + load(f32, add + 4 * i))
        store(out + 4 * i, e)


def route(N: int):
    """Threads claim rows."""

    def kernel(params, thread):
        p = RouteParams(params)
        n_rows = load(i64, p.n_rows_at)
        chosen = Thread(thread).scratch
        row = claim(thread, 1)
        while row < n_rows:
            x = p.x + row * p.n * 4
            _, scale = rms_scale(x, p.n, f32(bitcast(f64, p.eps)))
            products(p, x, scale, chosen)
            store(chosen, tanh16(load(f32x16, chosen)))
            for o in range(0, p.n_out, 16):
                a = splat(f32x16, 0.0)
                for j in range(N):
                    w = load(f32x16, p.weights + 4 * (j * p.n_out + o))
                    a = fma(w, splat(f32x16, load(f32, chosen + 4 * j)), a)
                store(p.out + 4 * (row * p.n_out + o), a + f32(bitcast(f64, p.plus)))
            row = claim(thread, 1)

    def products(p, x, scale, out):
        """Products of x with the N rows of the router, times scale."""
        whole = p.n // 16 * 16
        a = tile_fill(N, splat(f32x16, 0.0))
        for i in range(0, whole, 16):
            a = tile_multiply(a, p.router + 4 * i, 4 * p.n, (load(f32x16, x + 4 * i),))
        sums = out + 64
        tile_store(sums, 64, 64, a, 1)
        for j in range(N):
            total = hsum(load(f32x16, sums + 64 * j))
            for i in range(whole, p.n):
                total = fma(load(f32, p.router + 4 * (j * p.n + i)), load(f32, x + 4 * i), total)
            store(out + 4 * j, f32(total * scale))

    return kernel


def predict(N: int):
    def piece(p, row, first, last, scratch):
        whole = first + (last - first) // 16 * 16
        mixture = p.mixture + row * p.row
        for i in range(first, whole, 16):
            at = 4 * (row * p.n + i)
            acc = tile_load(f32x16, p.streams + at, N, p.plane, 1, 64)
            for a in range(N):
                v = load(f32x16, p.streams + a * p.plane + at)
                acc = tile_fma(acc, mixture + 4 * a, 4 * N, (v,))
            tile_store(p.out + at, p.plane, 64, acc, 1)
            store(p.copy + at, load(f32x16, p.out + p.active * p.plane + at))
        for i in range(whole, last):
            at = 4 * (row * p.n + i)
            for b in range(N):
                e = load(f32, p.streams + b * p.plane + at)
                for a in range(N):
                    e = fma(load(f32, mixture + 4 * (b * N + a)), load(f32, p.streams + a * p.plane + at), e)
                store(p.out + b * p.plane + at, e)
            store(p.copy + at, load(f32, p.out + p.active * p.plane + at))

    return of_rows(PredictParams, _PIECE, piece)


def correct(N: int):
    def piece(p, row, first, last, scratch):
        whole = first + (last - first) // 16 * 16
        gains, active = p.gains + row * p.row, p.active * p.plane
        for i in range(first, whole, 16):
            at = 4 * (row * p.n + i)
            new = load(f32x16, p.x + at) - load(f32x16, p.predictions + active + at)
            acc = tile_load(f32x16, p.predictions + at, N, p.plane, 1, 64)
            tile_store(p.out + at, p.plane, 64, tile_fma(acc, gains, 4, (new,)), 1)
            store(p.scaled + at, load(f32x16, p.out + active + at) * load(f32x16, p.scale + 4 * i))
        for i in range(whole, last):
            at = 4 * (row * p.n + i)
            change = f32(load(f32, p.x + at) - load(f32, p.predictions + active + at))
            for b in range(N):
                e = fma(load(f32, gains + 4 * b), change, load(f32, p.predictions + b * p.plane + at))
                store(p.out + b * p.plane + at, e)
            store(p.scaled + at, f32(load(f32, p.out + active + at) * load(f32, p.scale + 4 * i)))

    return of_rows(CorrectParams, _PIECE, piece)


def spread(N: int):
    """Threads claim rows."""

    def kernel(params, thread):
        p = SpreadParams(params)
        n_rows = load(i64, p.n_rows_at)
        row = claim(thread, 1)
        while row < n_rows:
            x = p.x + row * p.n * 4
            shift, scale = rms_scale(x, p.n, f32(bitcast(f64, p.eps)))
            apply(x, p.n, shift, scale, p.w, i64(0), i64(0), x)
            for j in range(1, N):
                y = p.streams + j * p.plane + row * p.n * 4
                copy(x, f32(1.0), y, p.n, y)
            row = claim(thread, 1)

    return kernel


def end(N: int):
    """Threads claim rows."""

    def kernel(params, thread):
        p = EndParams(params)
        n_rows = load(i64, p.n_rows_at)
        row = claim(thread, 1)
        while row < n_rows:
            at = row * p.n * 4
            power = squares(p.streams + p.active * p.plane + at, p.n, f32(0.0))
            mean = f32(1.0 / N)
            copy(p.streams + at, mean, i64(0), p.n, p.out + at)
            for j in range(N - 1):
                y = p.others + j * p.plane + at
                copy(y, f32(gain(power, y, p.n) * mean), p.out + at, p.n, p.out + at)
            row = claim(thread, 1)

    return kernel

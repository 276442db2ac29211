"""Small operations between the products: sums with a factor, bounds, pieces of rows, factors by position, what is done
to logits."""

from .math import bounded_by, tanh16
from .pieces import of_all
from .simd import Struct, bitcast, f32, f32x16, f64, i32, i64, load, splat, store
from .thread import Step, Thread, claim
from .vectors import put

AddParams = Struct("AddScaled", ("n_rows_at", "n", "x", "factor", "add", "out"))
"""out = factor * x + add: f32 [n_rows, n]; factor: bits of f64; add: or 0; out may be x or add."""

SumParams = Struct("ScaledSum", ("n_rows_at", "n", "x", "y", "factor", "out"))
"""out = (x + y) * factor: f32 [n_rows, n]; factor: bits of f64; out may be x or y."""

AddRowParams = Struct("AddRow", ("n_rows_at", "n", "x", "row", "out"))
"""out = x + row in every row: x, out f32 [n_rows, n], row f32 [n]; out may be x."""

SuppressParams = Struct("Suppress", ("step", "n", "first", "last"))
"""Elements first to last of each row of the step's logits (f32 [n_out, n]) become the least number there is."""

ClampParams = Struct("Clamp", ("n_rows_at", "n", "x", "limit"))
"""x, f32 [n_rows, n], bounded to -limit to limit (bits of f64), in place."""

PiecesParams = Struct("Pieces", ("n_rows_at", "count", "n", "x", "x_stride", "x_step", "out", "out_stride", "out_step"))
"""Of each row `count` pieces of n floats: from one to the next x_step bytes in x's rows, which are x_stride apart, and
out_step in out's, which are out_stride apart."""

TemperatureParams = Struct("Temperature", ("step", "n", "x", "every", "offset", "table", "last"))
"""Rows of x (f32 [n_rows, n]) times table[min((position + offset) // every, last)], f32."""

LogitsParams = Struct("Logits", ("step", "n", "factor", "cap"))
"""The step's logits (f32 [n_out, n]) times factor, then cap * tanh(x / cap) where cap is not 0; both bits of f64."""

_PIECE = 1024


def add():
    def piece(p, first, last, scratch):
        factor = f32(bitcast(f64, p.factor))
        for i in range(first, last, 16):
            v = load(f32x16, p.x + 4 * i) * factor
            if p.add != 0:
                v = v + load(f32x16, p.add + 4 * i)
            put(p.out + 4 * i, v, last - i, scratch)

    return of_all(AddParams, _PIECE, piece)


def scaled_sum():
    def piece(p, first, last, scratch):
        factor = f32(bitcast(f64, p.factor))
        for i in range(first, last, 16):
            v = (load(f32x16, p.x + 4 * i) + load(f32x16, p.y + 4 * i)) * factor
            put(p.out + 4 * i, v, last - i, scratch)

    return of_all(SumParams, _PIECE, piece)


def add_row():
    """Threads claim rows."""

    def kernel(params, thread):
        p = AddRowParams(params)
        n_rows = load(i64, p.n_rows_at)
        whole = p.n // 16 * 16
        row = claim(thread, 1)
        while row < n_rows:
            at = row * p.n * 4
            for i in range(0, whole, 16):
                store(p.out + at + 4 * i, load(f32x16, p.x + at + 4 * i) + load(f32x16, p.row + 4 * i))
            for i in range(whole, p.n):
                store(p.out + at + 4 * i, f32(load(f32, p.x + at + 4 * i) + load(f32, p.row + 4 * i)))
            row = claim(thread, 1)

    return kernel


def clamp():
    def piece(p, first, last, scratch):
        limit = f32(bitcast(f64, p.limit))
        for i in range(first, last, 16):
            put(p.x + 4 * i, bounded_by(load(f32x16, p.x + 4 * i), limit), last - i, scratch)

    return of_all(ClampParams, _PIECE, piece)


def pieces():
    """Threads claim rows."""

    def kernel(params, thread):
        p = PiecesParams(params)
        n_rows, whole = load(i64, p.n_rows_at), p.n // 16 * 16
        row = claim(thread, 1)
        while row < n_rows:
            for j in range(p.count):
                x, out = p.x + row * p.x_stride + j * p.x_step, p.out + row * p.out_stride + j * p.out_step
                for i in range(0, whole, 16):
                    store(out + 4 * i, load(f32x16, x + 4 * i))
                for i in range(whole, p.n):
                    store(out + 4 * i, load(f32, x + 4 * i))
            row = claim(thread, 1)

    return kernel


def temperature():
    """Threads claim rows."""

    def kernel(params, thread):
        p = TemperatureParams(params)
        step = Step(p.step)
        row = claim(thread, 1)
        while row < step.n_rows:
            position = i64(load(i32, step.positions + 4 * row))
            factor = load(f32, p.table + min((position + p.offset) // p.every, p.last) * 4)
            for i in range(row * p.n, (row + 1) * p.n):
                store(p.x + 4 * i, f32(load(f32, p.x + 4 * i) * factor))
            row = claim(thread, 1)

    return kernel


def logits():
    """Threads claim pieces of 1024 elements."""

    def kernel(params, thread):
        p = LogitsParams(params)
        step = Step(p.step)
        n, scratch = step.n_out * p.n, Thread(thread).scratch
        factor, cap = f32(bitcast(f64, p.factor)), f32(bitcast(f64, p.cap))
        first = claim(thread, 1) * _PIECE
        while first < n:
            last = min(first + _PIECE, n)
            for i in range(first, last, 16):
                v = load(f32x16, step.logits + 4 * i) * factor
                if cap != f32(0.0):
                    v = tanh16(v / splat(f32x16, cap)) * cap
                put(step.logits + 4 * i, v, last - i, scratch)
            first = claim(thread, 1) * _PIECE

    return kernel


def suppress():
    """Threads claim rows."""

    def kernel(params, thread):
        p = SuppressParams(params)
        step = Step(p.step)
        row = claim(thread, 1)
        while row < step.n_out:
            for i in range(row * p.n + p.first, row * p.n + p.last):
                store(step.logits + 4 * i, f32(-3.4028234663852886e38))
            row = claim(thread, 1)

    return kernel

"""Matrix-matrix products with weights in float formats: f32 weights and f32 activations, elements of a row in lanes.

The sums are those of matvec, lane for lane: two vectors along the row, added, halved, and the rest of the row one by
one.
"""

from . import embed
from .simd import (
    f32,
    f32x16,
    fma,
    hsum,
    i64,
    load,
    splat,
    store,
    tile_fill,
    tile_multiply,
    tile_spread,
    tile_store,
)
from .simd.targets import current
from .thread import Step, Thread

BLOCK_BYTES = 512 << 10
"""Of unpacked rows in a thread's scratch, unless four rows are longer."""
TOKENS = 12
"""Rows of activations that pass over a block of weights before the next ones do."""


def block(fmt):
    """work(params, thread, unit), units(params) for a float format: see matmul.block."""
    target = current()
    R, T = target.tile_rows, target.tile_vectors
    row = embed.row(fmt.__name__.rpartition(".")[2])
    wide, narrow = _micro(R, T), _micro(R, 1)

    def rows_of(p):
        return max(R, min(32, BLOCK_BYTES // (p.k * 4)) // R * R)

    def units(p):
        return (p.n + rows_of(p) - 1) // rows_of(p)

    def work(p, thread, unit):
        out = p.out
        if out == 0:
            out = Step(p.step).logits
        sums = Thread(thread).scratch
        block = sums + 4096
        n_tokens = load(i64, p.n_rows_at)
        first = unit * rows_of(p)
        n_rows = min(rows_of(p), p.n - first)
        for r in range((n_rows + R - 1) // R * R):
            # Rows past the end repeat the last one; their sums are not used.
            row(p.w + min(first + r, p.n - 1) * p.row_bytes, p.k, block + r * p.k * 4, f32(1.0))
        for t0 in range(0, n_tokens, TOKENS):
            t1 = min(t0 + TOKENS, n_tokens)
            for r in range(0, n_rows, R):
                n_out = min(R, n_rows - r)
                t = t0
                while t + T <= t1:
                    wide(p, block + r * p.k * 4, t, first + r, n_out, out, sums)
                    t += T
                while t < t1:
                    narrow(p, block + r * p.k * 4, t, first + r, n_out, out, sums)
                    t += 1

    return work, units


def _micro(R, T):
    RT = R * T

    def micro(p, w, t, row, n_out, out, sums):
        """R rows at w with T tokens from t on."""
        stride = p.k * 4
        x = p.x + t * stride
        a0 = tile_fill(RT, splat(f32x16, 0.0))
        a1 = a0
        whole = p.k // 32 * 128
        for i in range(0, whole, 128):
            a0 = tile_multiply(a0, w + i, stride, tile_spread(f32x16, x + i, stride, T))
            a1 = tile_multiply(a1, w + i + 64, stride, tile_spread(f32x16, x + i + 64, stride, T))
        tile_store(sums, T * 64, 64, a0, T)
        tile_store(sums + 2048, T * 64, 64, a1, T)
        for r in range(n_out):
            for j in range(T):
                at = sums + (r * T + j) * 64
                value = hsum(load(f32x16, at) + load(f32x16, at + 2048))
                for i in range(whole, stride, 4):
                    value = fma(load(f32, w + r * stride + i), load(f32, x + j * stride + i), value)
                if p.bias != 0:
                    value = f32(value + load(f32, p.bias + 4 * (row + r)))
                place = (t + j) * p.stride + 4 * (row + r)
                if p.add != 0:
                    value = f32(value + load(f32, p.add + place))
                store(out + place, value)

    return micro

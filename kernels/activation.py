"""Gated activations of the feed-forward block: out = f(gate) * up (Shazeer 2020, arXiv 2002.05202)."""

from .math import gelu16, silu16
from .simd import Struct, f32, f32x16, i64, lane, load, splat, store
from .thread import claim

Params = Struct("Gated", ("n_rows_at", "n", "gate", "up", "out"))
"""gate, up, out: f32 [n_rows, n]; out may be gate. n_rows_at: address of the number of rows."""

_PIECE = 1024
_FUNCTIONS = {"silu": silu16, "gelu": gelu16}


def gated(function: str):
    """Threads claim pieces of 1024 elements of the rows, which lie one after another."""
    f = _FUNCTIONS[function]

    def kernel(params, thread):
        p = Params(params)
        n = load(i64, p.n_rows_at) * p.n
        first = claim(thread, 1) * _PIECE
        while first < n:
            last = min(first + _PIECE, n)
            whole = first + (last - first) // 16 * 16
            for i in range(first, whole, 16):
                store(p.out + 4 * i, f(load(f32x16, p.gate + 4 * i)) * load(f32x16, p.up + 4 * i))
            for i in range(whole, last):
                gate = splat(f32x16, load(f32, p.gate + 4 * i))
                store(p.out + 4 * i, f32(lane(f(gate), 0) * load(f32, p.up + 4 * i)))
            first = claim(thread, 1) * _PIECE

    return kernel

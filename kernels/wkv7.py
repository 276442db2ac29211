"""The recurrence of RWKV 7 (Peng et al. 2025, arXiv 2503.14456), with what lies between it and the products; see wkv.

Of a head with keys k, values v, receptances r and rates a, for a state S [key][value]: the decay d is
e**(c sigmoid(w)); q, what is removed from the state, is k * k_k, normed to length 1; k (1 + (a - 1) k_a) is the key;
S = d S - (q * a) (q S) + k v,  y = r S;  y is normed, sum(r * k * r_k) v is added, and the gate multiplies it.
Values of all layers but the first are drawn towards those of the first.
"""

from .math import exp16, nan_of, sigmoid16
from .simd import (
    Struct,
    bitcast,
    f32,
    f32x16,
    f64,
    fma,
    hsum,
    load,
    splat,
    sqrt,
    store,
    tile_add,
    tile_fill,
    tile_fma,
    tile_spread,
    tile_store,
)
from .vectors import put
from .wkv import along, fitting, norm_of, padded, part

Params = Struct(
    "Wkv7",
    (
        "step", "n_head", "size", "r", "k", "v", "w", "a", "v_first", "v_mix", "gate", "k_k", "k_a", "r_k", "ln_w",
        "ln_b", "eps", "state", "state_stride", "out",
    ),
)  # fmt: skip
"""Heads of `size` elements. r, k, v, w, a, v_mix, gate, out: f32 [n_rows, n_head * size]; w, a, v_mix before their
sigmoids; v_first: rows like v's, the first layer's, or 0 in it; gate: or 0; k_k, k_a, r_k, ln_w, ln_b: f32 [n_head *
size], the last two or 0; eps: bits of f64; state: f32 [n_slots][n_head][size][padded(size)], a slot state_stride
bytes."""

_DECAY = -0.606531
"""The c of the decay, -e**-0.5."""
_LEAST_LENGTH = 1e-12


def rows(vectors: int):
    """vectors: see wkv.together."""
    V = fitting(vectors)
    R, K, W, VALUE, Q, QA, OUT, END = 0, 1, 2, 3, 4, 5, 6, 7

    def token(p, row, head, source, target, scratch):
        n, size = p.size, padded(p.size)
        at, of = (row * p.n_head + head) * n * 4, head * n * 4
        squares, own = splat(f32x16, 0.0), splat(f32x16, 0.0)
        for c in range(0, n, 16):
            here, there, left = at + 4 * c, of + 4 * c, n - c
            r, k, v, w = part(p.r + here, left), part(p.k + here, left), part(p.v + here, left), part(p.w + here, left)
            rate = sigmoid16(part(p.a + here, left))
            q, drawn = k * part(p.k_k + there, left), k * part(p.k_a + there, left)
            squares = fma(q, q, squares)
            k = k + (rate * drawn - drawn)
            own = fma(r * k, part(p.r_k + there, left), own)
            if p.v_first != 0:
                v = fma(part(p.v_first + here, left) - v, sigmoid16(part(p.v_mix + here, left)), v)
            store(scratch + 4 * (R * size + c), r)
            store(scratch + 4 * (K * size + c), k)
            store(scratch + 4 * (W * size + c), exp16(sigmoid16(w) * _DECAY) + nan_of(w))
            store(scratch + 4 * (VALUE * size + c), v)
            store(scratch + 4 * (Q * size + c), q)
            store(scratch + 4 * (QA * size + c), rate)
        total = hsum(squares)
        factor = f32(f32(f32(-1.0) / max(sqrt(total), f32(_LEAST_LENGTH))) + f32(total * f32(0.0)))
        for c in range(0, size, 16):
            q = load(f32x16, scratch + 4 * (Q * size + c)) * factor
            rate = load(f32x16, scratch + 4 * (QA * size + c))
            store(scratch + 4 * (Q * size + c), q)
            store(scratch + 4 * (QA * size + c), q * rate * -1.0)
        for c in range(0, size, 16 * V):
            columns(n, size, c, source, target, scratch)
        close(p, at, of, n, size, hsum(own), scratch)

    def columns(n, size, c, source, target, scratch):
        """V vectors of columns from c on, twice through all rows of the state: what is removed must be known first.
        Q holds -q, QA q * a."""
        nothing = tile_fill(V, splat(f32x16, 0.0))
        even, odd = nothing, nothing
        whole = n // 2 * 2
        for j in range(0, whole, 2):
            at = source + 4 * (j * size + c)
            even = tile_fma(even, scratch + 4 * (Q * size + j), 0, tile_spread(f32x16, at, 64, V))
            odd = tile_fma(odd, scratch + 4 * (Q * size + j + 1), 0, tile_spread(f32x16, at + 4 * size, 64, V))
        if whole < n:
            last = tile_spread(f32x16, source + 4 * (whole * size + c), 64, V)
            even = tile_fma(even, scratch + 4 * (Q * size + whole), 0, last)
        removed = tile_add(even, odd)
        v = tile_spread(f32x16, scratch + 4 * (VALUE * size + c), 64, V)
        out = nothing
        for j in range(n):
            at = 4 * (j * size + c)
            new = tile_fma(nothing, scratch + 4 * (K * size + j), 0, v)
            new = tile_fma(new, scratch + 4 * (QA * size + j), 0, removed)
            new = tile_fma(new, scratch + 4 * (W * size + j), 0, tile_spread(f32x16, source + at, 64, V))
            tile_store(target + at, 0, 64, new, V)
            out = tile_fma(out, scratch + 4 * (R * size + j), 0, new)
        tile_store(scratch + 4 * (OUT * size + c), 0, 64, out, V)

    def close(p, at, of, n, size, own, scratch):
        y_at = scratch + 4 * OUT * size
        shift, scale = f32(0.0), f32(1.0)
        if p.ln_w != 0:
            shift, scale = norm_of(y_at, n, f32(bitcast(f64, p.eps)))
        for c in range(0, n, 16):
            y = load(f32x16, y_at + 4 * c)
            if p.ln_w != 0:
                y = (y - shift) * scale * load(f32x16, p.ln_w + of + 4 * c) + load(f32x16, p.ln_b + of + 4 * c)
            y = fma(load(f32x16, scratch + 4 * (VALUE * size + c)), splat(f32x16, own), y)
            if p.gate != 0:
                y = y * load(f32x16, p.gate + at + 4 * c)
            put(p.out + at + 4 * c, y, n - c, scratch + 4 * END * size)

    return along(Params, token)

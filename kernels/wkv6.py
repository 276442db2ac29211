"""The recurrence of RWKV 6 (Peng et al. 2024, arXiv 2404.05892), and gated linear attention (Yang et al. 2023, arXiv
2312.06635), which QRWKV has in its place; with what lies between it and the products. See wkv.

Of a head with keys k, values v, receptances r and decays d, for a state S [key][value]:
"bonus":  y = r (S + (first * k) v),  S = d S + k v;  then y is normed, and multiplied by SiLU of the gate.
"gated":  k (1 - d) is the key,  S = d S + k v,  y = r scale S;  y is multiplied by the sigmoid of the gate.
"""

from .math import exp16, nan_of, sigmoid16, silu16
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
    store,
    tile_fill,
    tile_fma,
    tile_spread,
    tile_store,
)
from .vectors import put
from .wkv import along, fitting, norm_of, padded, part

Params = Struct(
    "Wkv6",
    (
        "step", "n_head", "n_head_kv", "size", "r", "k", "v", "w", "gate", "first", "scale", "ln_w", "ln_b", "eps",
        "state", "state_stride", "out",
    ),
)  # fmt: skip
"""Heads of `size` elements. r, w, gate, out: f32 [n_rows, n_head * size]; k, v: f32 [n_rows, n_head_kv * size], a head
for n_head / n_head_kv others; the decay is e**-e**w; first, ln_w, ln_b: f32 [n_head * size] ("bonus"); eps ("bonus"),
scale ("gated"): bits of f64; state: f32 [n_slots][n_head][size][padded(size)], a slot state_stride bytes."""


def rows(kind: str, vectors: int):
    """kind: "bonus" or "gated"; vectors: see wkv.together."""
    is_bonus = kind == "bonus"
    V = fitting(vectors)
    R, K, W, VALUE, OUT, BONUS, END = 0, 1, 2, 3, 4, 5, 6

    def token(p, row, head, source, target, scratch):
        n, size = p.size, padded(p.size)
        at, of = (row * p.n_head + head) * n * 4, head * n * 4
        of_kv = (row * p.n_head_kv + head // (p.n_head // p.n_head_kv)) * n * 4
        bonus = splat(f32x16, 0.0)
        for c in range(0, n, 16):
            r, k = part(p.r + at + 4 * c, n - c), part(p.k + of_kv + 4 * c, n - c)
            w = part(p.w + at + 4 * c, n - c)
            decay = exp16(exp16(w) * -1.0) + nan_of(w)
            if is_bonus:
                # The decay acts on later tokens alone: one that is no number must show in this token's result.
                bonus = fma(r * part(p.first + of + 4 * c, n - c), k, bonus) + nan_of(w)
            else:
                k = k - k * decay
                r = r * f32(bitcast(f64, p.scale))
            store(scratch + 4 * (R * size + c), r)
            store(scratch + 4 * (K * size + c), k)
            store(scratch + 4 * (W * size + c), decay)
            store(scratch + 4 * (VALUE * size + c), part(p.v + of_kv + 4 * c, n - c))
        store(scratch + 4 * BONUS * size, hsum(bonus))
        for c in range(0, size, 16 * V):
            columns(n, size, c, source, target, scratch)
        close(p, at, of, n, size, scratch)

    def columns(n, size, c, source, target, scratch):
        """V vectors of columns from c on, through all rows of the state."""
        nothing = tile_fill(V, splat(f32x16, 0.0))
        v = tile_spread(f32x16, scratch + 4 * (VALUE * size + c), 64, V)
        out = nothing
        for j in range(n):
            at = 4 * (j * size + c)
            old = tile_spread(f32x16, source + at, 64, V)
            new = tile_fma(nothing, scratch + 4 * (K * size + j), 0, v)
            new = tile_fma(new, scratch + 4 * (W * size + j), 0, old)
            tile_store(target + at, 0, 64, new, V)
            if is_bonus:
                out = tile_fma(out, scratch + 4 * (R * size + j), 0, old)
            else:
                out = tile_fma(out, scratch + 4 * (R * size + j), 0, new)
        if is_bonus:
            out = tile_fma(out, scratch + 4 * BONUS * size, 0, v)
        tile_store(scratch + 4 * (OUT * size + c), 0, 64, out, V)

    def close(p, at, of, n, size, scratch):
        y_at = scratch + 4 * OUT * size
        shift, scale = f32(0.0), f32(1.0)
        if is_bonus:
            shift, scale = norm_of(y_at, n, f32(bitcast(f64, p.eps)))
        for c in range(0, n, 16):
            y, gate = load(f32x16, y_at + 4 * c), load(f32x16, p.gate + at + 4 * c)
            if is_bonus:
                y = (y - shift) * scale * load(f32x16, p.ln_w + of + 4 * c) + load(f32x16, p.ln_b + of + 4 * c)
                y = y * silu16(gate)
            else:
                y = y * sigmoid16(gate)
            put(p.out + at + 4 * c, y, n - c, scratch + 4 * END * size)

    return along(Params, token)

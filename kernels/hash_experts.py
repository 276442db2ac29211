"""Experts that a token's number chooses (Roller et al. 2021, arXiv 2106.04426): a table names them, and the router
gives their weights alone. The rest is as in `experts`."""

from .experts import GATINGS, scale
from .simd import Struct, bitcast, f32, f64, i32, i64, load, store
from .thread import Step, claim

Params = Struct(
    "HashRoute", ("step", "n_expert", "n_used", "logits", "table", "normed", "factor", "probs", "ids", "weights")
)
"""table: int32 [n_vocab, n_used], each below n_expert; logits, normed, factor, ids, weights: as experts.RouteParams has
them; probs: scratch, f32 [n_rows, n_expert]."""


def route(gating: str):
    """Threads claim rows. gating: "softmax", "sigmoid" or "sqrt_softplus"."""
    probabilities = GATINGS[gating]

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        row = claim(thread, 1)
        while row < step.n_rows:
            probs, weights = p.probs + row * p.n_expert * 4, p.weights + row * p.n_used * 4
            probabilities(p.logits + row * p.n_expert * 4, probs, p.n_expert)
            chosen = p.table + i64(load(i32, step.tokens + 4 * row)) * p.n_used * 4
            for s in range(p.n_used):
                e = load(i32, chosen + 4 * s)
                store(p.ids + (row * p.n_used + s) * 4, e)
                store(weights + 4 * s, load(f32, probs + 4 * i64(e)))
            scale(weights, p.n_used, p.normed, f32(bitcast(f64, p.factor)))
            row = claim(thread, 1)

    return kernel

"""The lightning indexer (DeepSeek-V3.2, 2025): few small heads say which keys a row attends to.

A key's score is the sum over heads of weight * max(0, q . key). `scores` computes those that a row may choose from,
keys in lanes; `choose` writes the numbers of the greatest. A key may stand for several positions.
"""

from .attention import CHUNK, together
from .cell_products import products
from .cells import bytes_of
from .math import nan_of
from .ranks import are_finite, bound_of, to_ranks
from .simd import (
    Struct,
    f32,
    f32x16,
    fma,
    i32,
    i64,
    load,
    maximum,
    splat,
    store,
)
from .thread import Step, Thread, claim

ScoreParams = Struct(
    "IndexerScores",
    ("step", "q", "n_head", "dim", "weights", "keys", "n_keys", "ratio", "top_k", "out"),
)  # fmt: skip
"""q: f32 [n_rows][n_head][dim]; weights: f32 [n_rows][n_head]; keys: [n_seq][n_keys / 16] tiles of 16 keys, see
cells.py, each for `ratio` positions, all of which a row must have reached. out: f32 [n_rows][n_keys]; nothing for rows
that have `top_k` keys or fewer to choose from."""

ChooseParams = Struct("IndexerChoose", ("step", "scores", "n_keys", "ratio", "top_k", "out"))
"""scores: of `scores`, overwritten. out: int32 [n_rows][top_k]: the numbers of the keys with the greatest scores, in
ascending order, of equals the first; where there are fewer keys than `top_k`, all; all NONE, where a score is no finite
number: attention makes NaN of those (`expanded.spoil`)."""


NONE = -1
"""The number of no key."""


def scores(kv_type: str, T: int):
    """Threads claim stretches of 256 keys of a row; T heads go together."""
    of = bytes_of(kv_type)
    ready, score, _ = products(kv_type, T, 0)

    def kernel(params, thread):
        p = ScoreParams(params)
        step, scratch = Step(p.step), Thread(thread).scratch
        n_stretches = p.n_keys // CHUNK
        unit = claim(thread, 1)
        while unit < step.n_rows * n_stretches:
            row, first = unit // n_stretches, unit % n_stretches * CHUNK
            n = (i64(load(i32, step.positions + 4 * row)) + 1) // p.ratio
            if n > p.top_k and first < n:
                stretch(p, row, i64(load(i32, step.seqs + 4 * row)), first, min(n, first + CHUNK), scratch)
            unit = claim(thread, 1)

    def stretch(p, row, seq, first, last, scratch):
        keys, out = p.keys + seq * p.n_keys * of(p.dim), p.out + row * p.n_keys * 4
        products, q = scratch - 4 * first, scratch + T * CHUNK * 4
        for c in range(first, last, 16):
            store(out + 4 * c, splat(f32x16, 0.0))
        for h in range(0, p.n_head, T):
            n = min(T, p.n_head - h)
            take(p, row, h, n, T, q)
            ready(q, p.dim)
            score(q, p.dim, keys, products, first, last, 0, 0)
            for c in range(first, last, 16):
                total = load(f32x16, out + 4 * c)
                for t in range(n):
                    weight = load(f32, p.weights + (row * p.n_head + h + t) * 4)
                    s = load(f32x16, products + (t * CHUNK + c) * 4)
                    total = fma(maximum(s, splat(f32x16, 0.0)) + nan_of(s), splat(f32x16, weight), total)
                store(out + 4 * c, total)

    return kernel


def take(p, row, h, n, T, out):
    """Queries h to h + n of a row, then zeros, as many as T."""
    for i in range(n * p.dim):
        store(out + 4 * i, load(f32, p.q + ((row * p.n_head + h) * p.dim + i) * 4))
    for i in range(n * p.dim, T * p.dim):
        store(out + 4 * i, f32(0.0))


def heads_together(n_head: int) -> int:
    return together(n_head, True)


def choose():
    """Threads claim rows."""

    def kernel(params, thread):
        p = ChooseParams(params)
        step = Step(p.step)
        row = claim(thread, 1)
        while row < step.n_rows:
            n = (i64(load(i32, step.positions + 4 * row)) + 1) // p.ratio
            out = p.out + row * p.top_k * 4
            if n <= p.top_k:
                for i in range(n):
                    store(out + 4 * i, i32(i))
            else:
                greatest(p.scores + row * p.n_keys * 4, n, p.top_k, out)
            row = claim(thread, 1)

    def greatest(x, n, top_k, out):
        if not are_finite(x, n):
            for i in range(top_k):
                store(out + 4 * i, i32(NONE))
            return
        to_ranks(x, n)
        bound, left = bound_of(x, n, top_k)
        place = i64(0)
        for i in range(n):
            rank = i64(load(i32, x + 4 * i))
            if rank == bound and left > 0:
                left -= 1
                rank += 1
            if rank > bound:
                store(out + 4 * place, i32(i))
                place += 1

    return kernel

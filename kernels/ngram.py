"""Embeddings of n-grams (Qwen 3.8 Flash Next; llama.cpp's qwen4exp.cpp): a token and those before it are hashed to rows
of a table, whose values streams take by gates.
"""

from .math import nan_of, sigmoid16
from .simd import Struct, bitcast, f32, f32x16, f64, fma, hsum, i32, i64, lane, load, splat, sqrt, store, u64
from .thread import RUN_BYTES, Run, Step, Thread, claim
from .vectors import put

RowsParams = Struct(
    "NgramRows",
    (
        "step", "size", "eos", "multipliers", "n_heads", "per_gram", "offsets", "sizes", "state", "state_stride",
        "out",
    ),
)  # fmt: skip
"""size: tokens of the longest n-gram. multipliers: u64 [size]; offsets, sizes: u64 [n_heads], a head's stretch of the
table; per_gram heads for each n-gram of 2, 3, ..., size tokens. out: i32 [n_rows][n_heads], rows of the table. state:
i32 [n_slots][size - 1], a slot state_stride bytes: the last tokens, each + 1, the newest first, 0 where there is none.
A missing token, and all before an end of text, count as ends of text."""

GateParams = Struct("NgramGate", ("n_rows_at", "n", "count", "key", "query", "value", "factor", "out"))
"""out[c] = value * gate[c], gate = sigmoid of the root of key[c] . query[c] * factor, with its sign: key, query, out
f32 [n_rows][count][n]; value f32 [n_rows, n]; factor: bits of f64."""


def rows():
    """Threads claim runs."""

    def kernel(params, thread):
        p = RowsParams(params)
        step = Step(p.step)
        unit = claim(thread, 1)
        while unit < step.n_runs:
            run = Run(step.runs + unit * RUN_BYTES)
            order = step.order + 4 * run.first
            for t in range(run.count):
                row = i64(load(i32, order + 4 * t))
                hashes(p, step, run, order, t, p.out + row * p.n_heads * 4)
            if run.mark_slot >= 0:
                tail(p, step, run, order, run.mark, run.mark_slot)
            tail(p, step, run, order, run.count, run.target)
            unit = claim(thread, 1)

    def hashes(p, step, run, order, t, out):
        """The rows of token t of a run."""
        mixed = u64(token(p, step, run, order, t) - 1) * load(u64, p.multipliers)
        is_cut = False
        for s in range(1, p.size):
            before = token(p, step, run, order, t - s)
            if before == 0 or before - 1 == p.eos:
                is_cut = True
            if is_cut:
                before = p.eos + 1
            mixed = mixed ^ (u64(before - 1) * load(u64, p.multipliers + 8 * s))
            for head in range((s - 1) * p.per_gram, s * p.per_gram):
                place = u64(mixed % load(u64, p.sizes + 8 * head)) + load(u64, p.offsets + 8 * head)
                store(out + 4 * head, i32(place))

    def token(p, step, run, order, t):
        """Token t of a run, + 1; below 0 from the state before it."""
        if t >= 0:
            return i64(load(i32, step.tokens + 4 * i64(load(i32, order + 4 * t)))) + 1
        if run.source < 0 or -t >= p.size:
            return i64(0)
        return i64(load(i32, p.state + run.source * p.state_stride - 4 * (t + 1)))

    def tail(p, step, run, order, count, slot):
        """Leave the tokens before token `count` in a slot."""
        for j in range(p.size - 1):
            store(p.state + slot * p.state_stride + 4 * j, i32(token(p, step, run, order, count - 1 - j)))

    return kernel


def gate():
    """Threads claim rows' streams."""

    def kernel(params, thread):
        p = GateParams(params)
        n_rows, scratch = load(i64, p.n_rows_at), Thread(thread).scratch
        unit = claim(thread, 1)
        while unit < n_rows * p.count:
            at = unit * p.n * 4
            s = f32(dot(p.key + at, p.query + at, p.n) * f32(bitcast(f64, p.factor)))
            root = sqrt(max(abs(s), f32(1e-6)))
            if s == f32(0.0):
                root = f32(0.0)
            if s < f32(0.0):
                root = f32(-root)
            share = lane(sigmoid16(splat(f32x16, root)) + nan_of(splat(f32x16, s)), 0)
            value = p.value + unit // p.count * p.n * 4
            for i in range(0, p.n, 16):
                put(p.out + at + 4 * i, load(f32x16, value + 4 * i) * share, p.n - i, scratch)
            unit = claim(thread, 1)

    return kernel


def dot(x, y, n):
    whole = n // 16 * 16
    sums = splat(f32x16, 0.0)
    for i in range(0, whole, 16):
        sums = fma(load(f32x16, x + 4 * i), load(f32x16, y + 4 * i), sums)
    total = hsum(sums)
    for i in range(whole, n):
        total = f32(total + f32(load(f32, x + 4 * i) * load(f32, y + 4 * i)))
    return total

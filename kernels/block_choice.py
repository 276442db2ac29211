"""Which blocks of cells a row attends to (MiniMax-M3's sparse attention; llama.cpp's minimax-m3.cpp).

An indexer of one small head for each key-value head scores the cells; a block counts as its best one, the row's own
and those just before it always count, and of the rest the best few.
"""

from .cell_products import CHUNK, products
from .cells import bytes_of
from .indexer import take
from .math import lanes_from, nan_of
from .ranks import are_finite, bound_of, to_ranks
from .scores import WRONG
from .simd import (
    Struct,
    f32,
    f32x16,
    hmax,
    hsum,
    i32,
    i32x16,
    i64,
    less,
    load,
    maximum,
    select,
    splat,
    store,
    u8,
)
from .thread import Step, Thread, claim

ScoreParams = Struct(
    "BlockScores", ("step", "q", "n_head", "dim", "keys", "n_cells", "size", "n_blocks", "top_k", "local", "out")
)
"""q: f32 [n_rows][n_head][dim]; keys: [n_seq][n_cells / 16] tiles of 16 cells, see cells.py; size: cells of a block.
out: f32 [n_rows][n_head][n_blocks], n_blocks a multiple of 16: the greatest score of a block's cells up to the row's
own. Nothing is written for the last `local` blocks of a row, nor for rows that have `top_k` blocks or fewer."""

GroupsParams = Struct("GroupChoice", ("step", "scores", "n_keys", "size", "n_blocks", "top_k", "out"))
"""scores: f32 [n_rows][n_keys] of whole groups of `size` cells (see kernels.indexer), overwritten; out: u8
[n_rows][n_blocks]: 1 for at most `top_k` of them, of equals the first, and for the group that has only begun; WRONG for
all whole groups where a score is no finite number."""

ChooseParams = Struct("BlockChoice", ("step", "n_head", "scores", "size", "n_blocks", "top_k", "local", "out"))
"""scores: of `scores`, overwritten; out: u8 [n_rows][n_head][n_blocks]: 1 for each block that is attended to, at most
`top_k`: the last `local` up to the row's own, and the best of the others, of equals the first; WRONG for all of these
where a score is no finite number."""


def scores(kv_type: str, T: int):
    """Threads claim blocks of a row; T heads go together."""
    of = bytes_of(kv_type)
    ready, score, _ = products(kv_type, T, 0)

    def kernel(params, thread):
        p = ScoreParams(params)
        step, scratch = Step(p.step), Thread(thread).scratch
        unit = claim(thread, 8)
        while unit < step.n_rows * p.n_blocks:
            for u in range(unit, min(unit + 8, step.n_rows * p.n_blocks)):
                row, block = u // p.n_blocks, u % p.n_blocks
                position = i64(load(i32, step.positions + 4 * row))
                last = position // p.size
                if last >= p.top_k and block <= last - p.local:
                    keys = p.keys + i64(load(i32, step.seqs + 4 * row)) * p.n_cells * of(p.dim)
                    of_block(p, row, block, min(block * p.size + p.size, position + 1), keys, scratch)
            unit = claim(thread, 8)

    def of_block(p, row, block, last, keys, scratch):
        """A block of a row: its cells end before `last`."""
        q, first = scratch + T * CHUNK * 4, block * p.size
        for h in range(0, p.n_head, T):
            n = min(T, p.n_head - h)
            take(p, row, h, n, T, q)
            ready(q, p.dim)
            for t in range(n):
                store(out_of(p, row, h + t, block), f32(-3.0e38))
            for c0 in range(first // 32 * 32, last, CHUNK):
                c1 = min(c0 + CHUNK, last)
                score(q, p.dim, keys, scratch - 4 * c0, c0, c1, 0, 0)
                for t in range(n):
                    at = out_of(p, row, h + t, block)
                    best = greatest_of(scratch + (t * CHUNK - c0) * 4, max(c0, first), c1)
                    before = load(f32, at)
                    store(at, f32(max(before, best) + f32(f32(before * f32(0.0)) + f32(best * f32(0.0)))))

    def out_of(p, row, head, block):
        return p.out + ((row * p.n_head + head) * p.n_blocks + block) * 4

    def greatest_of(x, first, last):
        """Of cells first to last; NaN where one is no finite number."""
        best, wrong = splat(f32x16, -3.0e38), splat(f32x16, 0.0)
        for c in range(first // 16 * 16, last, 16):
            n = lanes_from(c)
            s = select(less(n, splat(i32x16, first)), splat(f32x16, -3.0e38), load(f32x16, x + 4 * c))
            s = select(less(n, splat(i32x16, last)), s, splat(f32x16, -3.0e38))
            best, wrong = maximum(s, best), wrong + nan_of(s)
        return f32(hmax(best) + hsum(wrong))

    return kernel


def choose():
    """Threads claim heads of rows."""

    def kernel(params, thread):
        p = ChooseParams(params)
        step = Step(p.step)
        unit = claim(thread, 1)
        while unit < step.n_rows * p.n_head:
            n = i64(load(i32, step.positions + 4 * (unit // p.n_head))) // p.size + 1
            out = p.out + unit * p.n_blocks
            if n <= p.top_k:
                mark(out, 0, n)
            else:
                first = n - min(p.local, p.top_k)
                mark(out, first, n)
                best(p.scores + unit * p.n_blocks * 4, first, p.top_k - (n - first), out)
            unit = claim(thread, 1)

    return kernel


def groups():
    """Of whole groups of cells the best few, and the one that has only begun. Threads claim rows."""

    def kernel(params, thread):
        p = GroupsParams(params)
        step = Step(p.step)
        row = claim(thread, 1)
        while row < step.n_rows:
            n_cells = i64(load(i32, step.positions + 4 * row)) + 1
            n, out = n_cells // p.size, p.out + row * p.n_blocks
            if n <= p.top_k:
                mark(out, 0, n)
            else:
                best(p.scores + row * p.n_keys * 4, n, p.top_k, out)
            mark(out, n, (n_cells + p.size - 1) // p.size)
            row = claim(thread, 1)

    return kernel


def mark(out, first, last):
    for i in range(first, last):
        store(out + i, u8(1))


def best(x, n, top_k, out):
    """The greatest `top_k` of n scores; those of none may be anything."""
    if top_k > 0 and not are_finite(x, n):
        for i in range(n):
            store(out + i, u8(WRONG))
        return
    to_ranks(x, n)
    bound, left = bound_of(x, n, top_k)
    for i in range(n):
        rank = i64(load(i32, x + 4 * i))
        flag = u8(0)
        if rank > bound:
            flag = u8(1)
        elif rank == bound and left > 0:
            left -= 1
            flag = u8(1)
        store(out + i, flag)

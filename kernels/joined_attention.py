"""Attention of all heads to one row of cells that are keys and values at once: those of a window, and entries that
stand for groups of positions (kernels.compress), all that are there or those that were chosen, in one softmax.
(DeepSeek-V4; llama.cpp's deepseek4.cpp.) Or those that chosen groups are made of, and the cells of the group that has
only begun (glm5-next.cpp).

A unit of work is a row and a group of heads. Its cells, the entries first, go through scratch as f32 a few at a time;
scores have elements in lanes, and what each few give is folded as in attention.py. So a row's result depends on its
position alone.
"""

from .attention import CHUNK, divide, empty, fold, part_bytes, sink, weigh
from .cells import bytes_of
from .expanded import CELLS, expander, gatherer, queries_at_once, row_stride, scorer, spoil
from .simd import (
    Struct,
    bitcast,
    f32,
    f64,
    i32,
    i64,
    load,
    store,
)
from .thread import SCRATCH_BYTES, Step, Thread, claim

Params = Struct(
    "JoinedAttention",
    (
        "step", "q", "q_stride", "n_head", "dim", "cells", "n_cells", "window", "entries", "n_entries", "ratio",
        "members", "chosen", "top_k", "scale", "sinks", "out", "out_stride", "group",
    ),
)  # fmt: skip
"""q: f32 rows of n_head * dim; cells: [n_seq][n_cells] rows of dim elements, see cells.py, of which a row sees `window`
up to its own, or with 0 those that no entry stands for; entries: [n_seq][n_entries] rows alike, of which entry i is
those from i * members on, `members` of them. An entry stands for `ratio` positions, all of which a row must have
reached; ratio 0: there are none. chosen: int32 [n_rows][top_k], numbers of entries, as many as there are or `top_k`; or
0: all entries. scale: factor of the scores (bits of f64); sinks: attention sinks, f32 [n_head] scores, or 0.
out: f32 rows of n_head * dim. group: heads of a unit, at most `max_heads`."""


def max_heads(dim: int) -> int:
    """Heads of a unit that scratch has room for, a multiple of what goes together; 0 where rows are too long."""
    each = CHUNK * 4 + row_stride(dim) + 2 * part_bytes(dim)
    n = (SCRATCH_BYTES - CELLS * row_stride(dim)) // each
    return max(0, n) // queries_at_once() * queries_at_once()


def heads(kv_type: str):
    """The kernel for cells of one of cells.KV_TYPES."""
    of, expand = bytes_of(kv_type), expander(kv_type)
    T, score, gather = queries_at_once(), scorer(), gatherer()

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        n_groups = (p.n_head + p.group - 1) // p.group
        unit = claim(thread, 1)
        while unit < step.n_rows * n_groups:
            head = unit % n_groups * p.group
            attend(p, step, Thread(thread).scratch, unit // n_groups, head, min(p.group, p.n_head - head))
            unit = claim(thread, 1)

    def attend(p, step, scratch, row, head, n):
        """Heads `head` to head + n of a row."""
        seq, position = i64(load(i32, step.seqs + 4 * row)), i64(load(i32, step.positions + 4 * row))
        first, n_entries = max(i64(0), position + 1 - p.window), i64(0)
        if p.ratio != 0:
            n_entries = (position + 1) // p.ratio
        if p.window == 0:
            first = n_entries * p.ratio
        if p.chosen != 0:
            n_entries = min(n_entries, p.top_k)
        n_entries *= p.members
        n_cells = n_entries + position + 1 - first
        padded = (n + T - 1) // T * T
        wide, size = row_stride(p.dim), part_bytes(p.dim)
        block = scratch + padded * CHUNK * 4
        q = block + CELLS * wide
        parts = q + padded * wide
        totals = parts + padded * size
        for t in range(padded):
            # Past the end the last one repeats.
            take(p, row, head + min(t, n - 1), q + t * wide)
            empty(totals + t * size, size)
        for c0 in range(0, n_cells, CELLS):
            last = min(CELLS, n_cells - c0)
            for i in range(last):
                c = c0 + i
                entry = i64(0)
                cell = p.cells + (seq * p.n_cells + (first + c - n_entries) % p.n_cells) * of(p.dim)
                if c < n_entries:
                    entry = number(p, row, c)
                    cell = p.entries + (seq * p.n_entries + entry) * of(p.dim)
                if entry < 0:
                    spoil(p.dim, block + i * wide)
                else:
                    expand(cell, p.dim, block + i * wide)
            for t in range(0, padded, T):
                for i in range(0, last, 2):
                    score(q + t * wide, block + i * wide, wide, p.dim, scratch + (t * CHUNK + i) * 4)
            for t in range(padded):
                weigh(scratch + t * CHUNK * 4, parts + t * size, 0, last, 0, last - 1)
            for t in range(0, padded, T):
                gather(scratch + t * CHUNK * 4, block, wide, last, parts + t * size + 64, size, p.dim)
            for t in range(n):
                fold(totals + t * size, parts + t * size, size)
        for t in range(n):
            if p.sinks != 0:
                sink(totals + t * size, load(f32, p.sinks + 4 * (head + t)), size)
            divide(totals + t * size, p.dim, p.out + row * p.out_stride + (head + t) * p.dim * 4)

    def number(p, row, c):
        """Of cell c of a row's entries; below 0 where none could be chosen."""
        if p.chosen == 0:
            return i64(c)
        return i64(load(i32, p.chosen + (row * p.top_k + c // p.members) * 4)) * p.members + c % p.members

    def take(p, row, head, out):
        """A query times the scale, then zeros to a whole vector."""
        factor = f32(bitcast(f64, p.scale))
        x = p.q + row * p.q_stride + head * p.dim * 4
        for i in range(p.dim):
            store(out + 4 * i, f32(load(f32, x + 4 * i) * factor))
        for i in range(p.dim, (p.dim + 15) // 16 * 16):
            store(out + 4 * i, f32(0.0))

    return kernel

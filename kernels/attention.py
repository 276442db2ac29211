"""Attention over the cache, with an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022,
2205.14135).

A unit of work is a block of rows, one key-value head, and (for few rows) one fixed stretch of cells, so that the result
does not depend on the number of threads. Queries that share a key-value head go T at a time through chunks of CHUNK
cells: scores with 16 cells in lanes, then the weighted sum of values with 16 elements in lanes.
"""

from .cell_products import CHUNK as CHUNK
from .cell_products import products
from .cells import GROUP, bytes_of
from .math import exp16, lanes_from
from .scores import CHANGES, MASKED, RANGES
from .simd import (
    Struct,
    bitcast,
    f32,
    f32x16,
    f64,
    fma,
    hmax,
    hsum,
    i32,
    i32x16,
    i64,
    lane,
    less,
    load,
    maximum,
    select,
    splat,
    store,
)
from .simd.targets import current
from .thread import RUN_BYTES, Run, Step, Thread, claim
from .vectors import copy

Params = Struct(
    "Attention",
    (
        "step", "q", "q_stride", "n_head", "n_head_kv", "k_dim", "v_dim", "k_cache", "v_cache", "n_cells",
        "window", "ahead", "scale", "out", "out_stride", "block", "split", "partial", "sinks", "cap", "slopes",
        "chosen", "n_lists", "size",
        "n_blocks",
    ),
)  # fmt: skip
"""q: f32 rows of n_head * k_dim; k_cache, v_cache: see cells.py; window: cells a row sees, or 0 for all up to
its own, or -n for those from the last multiple of n on;
scale: factor of the scores (bits of f64); out: f32 rows of n_head * v_dim; block: rows of a unit. split: CHUNK,
and a unit is one chunk, whose result goes to partial [n_rows][n_head][n_cells / CHUNK][partial_floats(v_dim)] for
`merge`; or 0: all cells, straight to out. ahead: cells past its own that a row sees, as far as its sequence has them
when the batch is done (ALL_AHEAD: all of them). sinks: attention sinks, f32 [n_head] scores, or 0. cap,
slopes, chosen, n_lists, size, n_blocks: see scores.py."""

ALL_AHEAD = 1 << 40


def partial_floats(v_dim: int) -> int:
    """Floats of one partial result."""
    return part_bytes(v_dim) // 4


MAX_TOGETHER = 8


def scratch_bytes(k_dim: int, v_dim: int) -> int:
    """Of a thread's scratch that heads of these sizes take at most."""
    return MAX_TOGETHER * (CHUNK * 4 + 2 * part_bytes(v_dim) + 4 * k_dim)


_COST = 2.0
"""What cells cost that queries share, in queries."""


def together(group: int, few: bool) -> int:
    """Queries that go through the cache together, their sums in registers; `group` of them share a key-value head.

    few: a row's own group has to be enough; otherwise the rows of a block are queries, too.
    """
    many = MAX_TOGETHER if current().tile_vectors >= 3 else 6  # registers of 512 bits, and 32 of them; or fewer
    sizes = tuple(size for size in (3, 4, 6, MAX_TOGETHER) if size <= many) if few else (many,)
    return min(sizes, key=lambda size: -(-group // size) * (size + _COST))


def cells(kv_type: str, T: int, scores: str = "plain"):
    """The kernel for a cache of one of cells.KV_TYPES, T queries at a time. scores: what is made of them, see
    scores.py."""
    change, narrow = CHANGES[scores], RANGES[scores]
    of = bytes_of(kv_type)
    ready, score, gather = products(kv_type, T, 0)
    _, score_ahead, gather_ahead = products(kv_type, T, 1)
    dense = scores != "blocks"

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        group = p.n_head // p.n_head_kv
        n_splits = 1
        if p.split != 0:
            n_splits = p.n_cells // p.split
        n_blocks = (step.n_rows + p.block - 1) // p.block
        unit = claim(thread, 1)
        while unit < n_blocks * p.n_head_kv * n_splits:
            split, rest = unit % n_splits, unit // n_splits
            head, first = rest % p.n_head_kv, rest // p.n_head_kv * p.block
            last = min(first + p.block, step.n_rows)
            while first < last:
                seq = load(i32, step.seqs + 4 * first)
                end = first + 1
                while end < last and load(i32, step.seqs + 4 * end) == seq:
                    end += 1
                passes = ((end - first) * group + T - 1) // T
                pace = of(GROUP) // (2 * passes)
                next_k, next_v = i64(0), i64(0)
                if p.split != 0:
                    next_k, next_v = memory_of_next(p, step, rest, split, n_splits, n_blocks, Thread(thread).nth)
                for j in range(first * group, end * group, T):
                    queries(
                        p, step, Thread(thread).scratch, i64(seq), head, group, j, end * group, split, n_splits,
                        next_k, next_v, pace,
                    )  # fmt: skip
                    next_k += CHUNK * of(p.k_dim) // passes
                    next_v += CHUNK * of(p.v_dim) // passes
                first = end
            unit = claim(thread, 1)

    def memory_of_next(p, step, rest, split, n_splits, n_blocks, nth):
        """Where the keys and values begin that this thread will need next, most likely: others do the units between,
        and stretches that hold nothing yet are left out. Where blocks are chosen, the keys of another unit may never be
        read: this unit's values, twice."""
        used = min(i64(load(i32, step.positions + 4 * (rest // p.n_head_kv * p.block))) // CHUNK + 1, n_splits)
        after = rest * used + min(split, used - 1)
        if dense:
            after = min(after + nth, n_blocks * p.n_head_kv * used - 1)
        rest, split = after // used, after % used
        seq = i64(load(i32, step.seqs + 4 * (rest // p.n_head_kv * p.block)))
        cell = (seq * p.n_head_kv + rest % p.n_head_kv) * p.n_cells + split * CHUNK
        values = p.v_cache + cell * of(p.v_dim)
        return p.k_cache + cell * of(p.k_dim) if dense else values, values

    def queries(p, step, scratch, seq, head, group, j0, j1, split, n_splits, next_k, next_v, pace):
        """Queries j0 to j0 + T of a sequence's rows: query j is head j % group of row j // group. Past j1 the last
        repeats. next_k, next_v, pace: what is prefetched, see cell_products."""
        size_of_part = part_bytes(p.v_dim)
        parts = scratch + T * CHUNK * 4
        totals = parts + T * size_of_part
        q = totals + T * size_of_part
        low, high, reach = i64(1 << 60), i64(0), i64(0)
        if p.ahead != 0:
            reach = last_of(step, seq)
        for t in range(T):
            position = i64(load(i32, step.positions + 4 * (min(j0 + t, j1 - 1) // group)))
            high = max(high, last_seen(position, p.ahead, reach) + 1)
            low = min(low, first_seen(position, p.window))
        if p.split != 0:
            # The chunk that lies in this stretch of the cache, counted from the first that these queries see.
            chunk = low // CHUNK
            chunk += (split - chunk) % n_splits
            low, high = max(low, chunk * CHUNK), min(high, (chunk + 1) * CHUNK)
            if low >= high:
                return
        factor = f32(bitcast(f64, p.scale))
        for t in range(T):
            j = min(j0 + t, j1 - 1)
            x = p.q + j // group * p.q_stride + (head * group + j % group) * p.k_dim * 4
            for i in range(p.k_dim):
                store(q + (t * p.k_dim + i) * 4, f32(load(f32, x + 4 * i) * factor))
            empty(totals + t * size_of_part, size_of_part)
        ready(q, p.k_dim)
        slot = seq * p.n_head_kv + head
        keys = p.k_cache + slot * p.n_cells * of(p.k_dim)
        vals = p.v_cache + slot * p.n_cells * of(p.v_dim)
        for c0 in range(low // CHUNK * CHUNK, high, CHUNK):
            first, c1 = narrow(p, step, j0, min(j0 + T, j1), group, head, max(c0, low), min(c0 + CHUNK, high))
            if first >= c1:
                for t in range(T):
                    empty(parts + t * size_of_part, size_of_part)
                continue
            lap, start = c0 % p.n_cells - c0, first // 32 * 32
            if p.split != 0:
                # Each cell is read once or twice, and comes from memory.
                score_ahead(q, p.k_dim, keys + lap * of(p.k_dim), scratch - 4 * c0, start, c1, next_k, pace)
            else:
                score(q, p.k_dim, keys + lap * of(p.k_dim), scratch - 4 * c0, start, c1, 0, 0)
            for t in range(T):
                row = min(j0 + t, j1 - 1) // group
                position = i64(load(i32, step.positions + 4 * row))
                weights, part = scratch + (t * CHUNK - c0) * 4, parts + t * size_of_part
                change(p, weights, start, c1, position, head * group + min(j0 + t, j1 - 1) % group, row)
                last = last_seen(position, p.ahead, reach)
                weigh(weights, part, start, c1, first_seen(position, p.window), last)
            weights, rows = scratch - 4 * c0, vals + lap * of(p.v_dim)
            if p.split != 0:
                gather_ahead(weights, rows, parts + 64, size_of_part, p.v_dim, first, c1, next_v, pace)
            else:
                gather(weights, rows, parts + 64, size_of_part, p.v_dim, first, c1, 0, 0)
            for t in range(T):
                fold(totals + t * size_of_part, parts + t * size_of_part, size_of_part)
        for t in range(min(T, j1 - j0)):
            row, h = (j0 + t) // group, head * group + (j0 + t) % group
            if p.split == 0:
                if p.sinks != 0:
                    sink(totals + t * size_of_part, load(f32, p.sinks + 4 * h), size_of_part)
                divide(totals + t * size_of_part, p.v_dim, p.out + row * p.out_stride + h * p.v_dim * 4)
            else:
                # One chunk: its part goes as it is, for `merge` to fold in the same order as is done above.
                place = (row * p.n_head + h) * n_splits + split
                copy(parts + t * size_of_part, size_of_part, p.partial + place * size_of_part)

    return kernel


def first_seen(position, window):
    """The first cell that a row at this position sees."""
    if window == 0:
        return i64(0)
    if window < 0:
        return position - position % -window
    return max(i64(0), position + 1 - window)


def last_seen(position, ahead, reach):
    """The last one; its sequence has them up to `reach`."""
    return min(position + ahead, max(position, reach))


def last_of(step, seq):
    """The last position of a sequence in this batch."""
    for i in range(step.n_runs):
        run = Run(step.runs + RUN_BYTES * i)
        if run.seq == seq:
            row = i64(load(i32, step.order + 4 * (run.first + run.count - 1)))
            return i64(load(i32, step.positions + 4 * row))
    return i64(0)


def part_bytes(v_dim):
    return 64 + (v_dim + 15) // 16 * 64


def weigh(scores, part, c0, c1, start, position):
    """Scores of one chunk to weights, relative to its greatest score. A row sees cells start to position. Where one of
    their scores is no finite number, the sum of the weights is NaN."""
    greatest = splat(f32x16, MASKED)
    for c in range(c0, c1, 16):
        n = lanes_from(c)
        s = load(f32x16, scores + 4 * c)
        s = select(less(n, splat(i32x16, position + 1)), s, splat(f32x16, MASKED))
        s = select(less(n, splat(i32x16, start)), splat(f32x16, MASKED), s)
        store(scores + 4 * c, s)
        greatest = maximum(s, greatest)
    m = hmax(greatest)
    total = splat(f32x16, 0.0)
    for c in range(c0, c1, 16):
        s = load(f32x16, scores + 4 * c)
        w = select(less(splat(f32x16, 0.5 * MASKED), s), exp16(s - m), splat(f32x16, 0.0))
        store(scores + 4 * c, w)
        total = fma(s, splat(f32x16, 0.0), total + w)
    store(part, m)
    store(part + 4, hsum(total))


# A part, and a total: greatest score, sum of weights, then from byte 64 the weighted values. Chunks are folded one
# after another, whoever computed them, so that a row's result does not depend on how the work was divided.


def empty(total, n_bytes):
    for i in range(0, n_bytes, 64):
        store(total + i, splat(f32x16, 0.0))
    store(total, f32(MASKED))


def fold(total, part, n_bytes):
    """Add a part, scaled to the greater of both greatest scores."""
    m = max(load(f32, total), load(f32, part))
    a, b = exp1(f32(load(f32, total) - m)), exp1(f32(load(f32, part) - m))
    store(total, m)
    store(total + 4, f32(f32(load(f32, total + 4) * a) + f32(load(f32, part + 4) * b)))
    for i in range(64, n_bytes, 64):
        store(total + i, load(f32x16, total + i) * a + load(f32x16, part + i) * b)


def exp1(x):
    return lane(exp16(splat(f32x16, x)), 0)


def sink(total, score, n_bytes):
    """A cell that takes weight and gives no value (Xiao et al. 2023, arXiv 2309.17453)."""
    m = max(load(f32, total), score)
    a = exp1(f32(load(f32, total) - m))
    store(total, m)
    store(total + 4, f32(f32(load(f32, total + 4) * a) + exp1(f32(score - m))))
    for i in range(64, n_bytes, 64):
        store(total + i, load(f32x16, total + i) * a)


def divide(total, v_dim, out):
    inverse = f32(f32(1.0) / load(f32, total + 4))
    for i in range(v_dim):
        store(out + 4 * i, f32(load(f32, total + 64 + 4 * i) * inverse))


def merge():
    """Join the partial results of a row's head; threads claim heads of rows. Params: the same block as for `cells`."""

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        n_splits = p.n_cells // p.split
        size = part_bytes(p.v_dim)
        total = Thread(thread).scratch
        unit = claim(thread, 1)
        while unit < step.n_rows * p.n_head:
            row, head = unit // p.n_head, unit % p.n_head
            position = i64(load(i32, step.positions + 4 * row))
            empty(total, size)
            reach = i64(0)
            if p.ahead != 0:
                reach = last_of(step, i64(load(i32, step.seqs + 4 * row)))
            last = last_seen(position, p.ahead, reach)
            for s in range(first_seen(position, p.window) // p.split, last // p.split + 1):
                fold(total, p.partial + (unit * n_splits + s % n_splits) * size, size)
            if p.sinks != 0:
                sink(total, load(f32, p.sinks + 4 * head), size)
            divide(total, p.v_dim, p.out + row * p.out_stride + head * p.v_dim * 4)
            unit = claim(thread, 1)

    return kernel

"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) in its absorbed form: a cell is one row, a latent and the
elements with RoPE; it is the key of all heads, and its latent their value.

`store_rows` writes rows. In `cells` a unit of work is a block of rows, a group of heads and (for few rows) one chunk of
cells. Queries go through a chunk together, over a few cells at a time that were made f32 in scratch: T queries' scores
with elements in lanes, weights, and the weighted sum of latents. What each few give, and chunks, are folded as in
attention.py; `merge` joins the chunks of a row. A row may see all cells, or those that it has chosen (kernels.indexer):
then chunks are of its list, so that a list of all cells gives the same bits.
"""

from .attention import CHUNK, divide, empty, first_seen, fold, part_bytes, sink, weigh
from .cells import bytes_of
from .expanded import CELLS, expander, gatherer, queries_at_once, row_stride, scorer, spoil
from .rope import putter, rotator
from .simd import (
    Struct,
    bitcast,
    f32,
    f32x16,
    f64,
    i32,
    i64,
    load,
    splat,
    store,
)
from .thread import SCRATCH_BYTES, Step, Thread, claim
from .vectors import copy, first_lanes

StoreParams = Struct("LatentStore", ("step", "x", "stride", "dim", "n_rot", "table", "cache", "n_cells"))
"""x: f32 rows of dim elements, `stride` bytes apart, whose last n_rot are rotated in place; table: rope.table's. cache:
[n_seq][n_cells] rows of dim elements, see cells.py. Position p of a sequence is its cell p % n_cells."""

Params = Struct(
    "LatentAttention",
    (
        "step", "q", "q_row", "q_head", "rotated", "rotated_row", "rotated_head", "n_head", "dim", "n_rot", "cache",
        "n_cells", "window", "chosen", "top_k", "scale", "out", "block", "group", "together", "split", "partial",
        "sinks",
    ),
)  # fmt: skip
"""q: f32, dim elements for each head of each row, `q_row` and `q_head` bytes apart; rotated: n_rot elements for each in
the same way; a row of the cache has dim + n_rot. window: cells a row sees, see attention.Params; chosen: 0, or int32
[n_rows][top_k], the cells that a row sees in ascending order, `top_k` or as many as there are up to its own; scale:
factor of the scores (bits of f64); out: f32 [n_rows][n_head][dim]; block: rows of a unit; group: heads of a unit;
together: queries that go through a chunk at a time, at most `max_together`. split: CHUNK, and a unit is one chunk,
whose result goes to partial [n_rows][n_head][n_splits][part_bytes(dim)] for `merge`; or 0: all, straight to out. sinks:
f32 [n_head], see attention.Params, or 0."""


def _whole(n):
    """Floats that the vectors of n take."""
    return (n + 15) // 16 * 16


def max_together(dim: int, n_rot: int) -> int:
    """Queries that scratch has room for; below 1 where rows are too long."""
    row = row_stride(dim + _whole(n_rot))
    each = CHUNK * 4 + row + 3 * part_bytes(dim)
    return (SCRATCH_BYTES - CELLS * row - 64) // each - queries_at_once() + 1


def store_rows(pairing: str, kv_type: str):
    """Threads claim rows."""
    rotate_head, of, put = rotator(pairing), bytes_of(kv_type), putter(kv_type)

    def kernel(params, thread):
        p = StoreParams(params)
        step = Step(p.step)
        row = claim(thread, 1)
        while row < step.n_rows:
            x = p.x + row * p.stride
            rotate_head(x + (p.dim - p.n_rot) * 4, p.n_rot, p.table + row * p.n_rot * 4)
            seq, cell = i64(load(i32, step.seqs + 4 * row)), i64(load(i32, step.positions + 4 * row)) % p.n_cells
            put(x, p.dim, p.cache + (seq * p.n_cells + cell) * of(p.dim), 0, 1, Thread(thread).scratch)
            row = claim(thread, 1)

    return kernel


def cells(kv_type: str):
    """The kernel for a cache of one of cells.KV_TYPES."""
    of, expand = bytes_of(kv_type), expander(kv_type)
    T, score, gather = queries_at_once(), scorer(), gatherer()

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        n_groups = (p.n_head + p.group - 1) // p.group
        n_splits = splits_of(p)
        n_blocks = (step.n_rows + p.block - 1) // p.block
        unit = claim(thread, 1)
        while unit < n_blocks * n_splits * n_groups:
            # Later rows see more cells: they come first.
            first = (n_blocks - 1 - unit // (n_groups * n_splits)) * p.block
            last = min(first + p.block, step.n_rows)
            head = unit % n_groups * p.group
            n = min(p.group, p.n_head - head)
            while first < last:
                seq = load(i32, step.seqs + 4 * first)
                end = first + 1
                while p.chosen == 0 and end < last and load(i32, step.seqs + 4 * end) == seq:
                    end += 1
                j = first * n
                while j < end * n:
                    count = min(p.together, end * n - j)
                    queries(p, step, Thread(thread).scratch, i64(seq), head, n, j, count, unit // n_groups % n_splits)
                    j += count
                first = end
            unit = claim(thread, 1)

    def queries(p, step, scratch, seq, head, n, j0, count, split):
        """Queries j0 to j0 + count of a sequence's rows: query j is head `head` + j % n of row j // n."""
        low, high, n_splits = i64(1 << 60), i64(0), splits_of(p)
        for row in range(j0 // n, (j0 + count - 1) // n + 1):
            first, end = seen(p, i64(load(i32, step.positions + 4 * row)))
            high, low = max(high, end), min(low, first)
        if p.split != 0:
            # The chunk that lies in this stretch of the cache, counted from the first that these queries see.
            chunk = low // CHUNK
            chunk += (split - chunk) % n_splits
            low, high = max(low, chunk * CHUNK), min(high, (chunk + 1) * CHUNK)
            if low >= high:
                return
        padded = (count + T - 1) // T * T
        row, size = row_stride(p.dim + _whole(p.n_rot)), part_bytes(p.dim)
        # Scores are made two at a time: of an odd number of cells at a chunk's end one lies behind it.
        block = scratch + padded * CHUNK * 4 + 64
        q = block + CELLS * row
        parts = q + padded * row
        totals = parts + padded * size
        few = totals + padded * size
        for t in range(padded):
            # Past the end the last one repeats.
            j = j0 + min(t, count - 1)
            take(p, j // n, head + j % n, q + t * row)
            empty(totals + t * size, size)
        source = p.cache + seq * p.n_cells * of(p.dim + p.n_rot)
        for c0 in range(low // CHUNK * CHUNK, high, CHUNK):
            first, c1 = max(c0, low), min(c0 + CHUNK, high)
            lap = c0 % p.n_cells - c0
            numbers = p.chosen + (j0 // n * p.top_k) * 4
            for t in range(padded):
                empty(parts + t * size, size)
            for c in range(first // CELLS * CELLS, c1, CELLS):
                low_c, last = max(c, first), min(c + CELLS, c1)
                fill(p, source, lap, numbers, low_c, last, block, row)
                at = scratch + (low_c - c0) * 4
                for t in range(0, padded, T):
                    for i in range(0, last - low_c, 2):
                        score(q + t * row, block + i * row, row, p.dim + p.n_rot, at + (t * CHUNK + i) * 4)
                for t in range(padded):
                    start, end = seen(p, i64(load(i32, step.positions + 4 * ((j0 + min(t, count - 1)) // n))))
                    scores = scratch + (t * CHUNK - c0) * 4
                    weigh(scores, few + t * size, low_c // 16 * 16, last, start, end - 1)
                for t in range(0, padded, T):
                    gather(at + t * CHUNK * 4, block, row, last - low_c, few + t * size + 64, size, p.dim)
                for t in range(padded):
                    fold(parts + t * size, few + t * size, size)
            for t in range(count if p.split == 0 else 0):
                fold(totals + t * size, parts + t * size, size)
        for t in range(count):
            place = (j0 + t) // n * p.n_head + head + (j0 + t) % n
            if p.split == 0:
                if p.sinks != 0:
                    sink(totals + t * size, load(f32, p.sinks + 4 * (head + (j0 + t) % n)), size)
                divide(totals + t * size, p.dim, p.out + place * p.dim * 4)
            else:
                # One chunk: its part goes as it is, for `merge` to fold in the same order as is done above.
                copy(parts + t * size, size, p.partial + (place * n_splits + split) * size)

    def take(p, row, head, out):
        """A query times the scale, then zeros to a whole vector."""
        factor = f32(bitcast(f64, p.scale))
        q, rotated = p.q + row * p.q_row + head * p.q_head, p.rotated + row * p.rotated_row + head * p.rotated_head
        # What rotates may end before the last vector does, where it does not begin with one.
        store(out + 4 * (_whole(p.dim + p.n_rot) - 16), splat(f32x16, 0.0))
        for i in range(0, p.dim, 16):
            store(out + 4 * i, load(f32x16, q + 4 * i) * factor)
        for i in range(0, p.n_rot, 16):
            v = load(f32x16, rotated + 4 * i) * factor
            if i + 16 > p.n_rot:
                v = first_lanes(v, p.n_rot - i)
            store(out + 4 * (p.dim + i), v)
        if p.n_rot == 0 and p.dim % 16 != 0:
            last = p.dim // 16 * 16
            store(out + 4 * last, first_lanes(load(f32x16, out + 4 * last), p.dim - last))

    def fill(p, source, lap, numbers, c, last, block, row):
        """Cells c to `last` as f32, each with zeros to a whole vector."""
        for i in range(last - c):
            number = lap + c + i
            if p.chosen != 0:
                number = i64(load(i32, numbers + 4 * (c + i)))
            if p.chosen != 0 and number < 0:
                spoil(p.dim + p.n_rot, block + i * row)
            else:
                expand(source + number * of(p.dim + p.n_rot), p.dim + p.n_rot, block + i * row)

    return kernel


def splits_of(p):
    """Chunks that the cells of a row lie in at most, where each is a unit."""
    if p.split == 0:
        return i64(1)
    if p.chosen != 0:
        return (p.top_k + CHUNK - 1) // CHUNK
    return p.n_cells // CHUNK


def seen(p, position):
    """The first cell that a row at a position sees, and the end; of its list, where it has chosen."""
    if p.chosen != 0:
        return i64(0), min(position + 1, p.top_k)
    return first_seen(position, p.window), position + 1


def merge():
    """Join the partial results of a row's head; threads claim heads of rows. Params: the same block as for `cells`."""

    def kernel(params, thread):
        p = Params(params)
        step, total, n_splits, size = Step(p.step), Thread(thread).scratch, splits_of(p), part_bytes(p.dim)
        unit = claim(thread, 1)
        while unit < step.n_rows * p.n_head:
            first, end = seen(p, i64(load(i32, step.positions + 4 * (unit // p.n_head))))
            empty(total, size)
            for chunk in range(first // CHUNK, (end - 1) // CHUNK + 1):
                fold(total, p.partial + (unit * n_splits + chunk % n_splits) * size, size)
            if p.sinks != 0:
                sink(total, load(f32, p.sinks + 4 * (unit % p.n_head)), size)
            divide(total, p.dim, p.out + unit * p.dim * 4)
            unit = claim(thread, 1)

    return kernel

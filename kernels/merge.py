"""The merges of byte-pair encoding for long texts: in each word the pair of the lowest rank first, of equals the
leftmost.

Exact: the ids that localllm.text.merge finds, which is quicker to start.
"""

from .simd import Struct, i32, i64, load, store

Params = Struct(
    "Merge", ("pairs", "n_pairs", "table", "mask", "symbols", "n", "ranks", "previous", "following", "heap")
)
"""pairs: i32 [n_pairs, 4]: left, right, rank, merged: put into the table first. table: i32 [mask + 1, 4], a power of
two of rows, left -1 where a row is free. symbols: i32 [n], -1 between words, overwritten: -2 where a symbol was merged
into one before it. ranks, previous, following: i32 [n], heap: i64 [3 n], scratch."""

_END, _GONE = -1, -2


def words():
    """The kernel; it runs on one thread."""

    def kernel(params, thread):
        p = Params(params)
        for i in range(p.n_pairs):
            _insert(p.table, p.mask, p.pairs + 16 * i)
        start = i64(0)
        while start < p.n:
            end = start
            while end < p.n and load(i32, p.symbols + 4 * end) != _END:
                end += 1
            if end - start > 1:
                _merge(p.table, p.mask, p.symbols, p.ranks, p.previous, p.following, p.heap, start, end)
            start = end + 1

    return kernel


def _slot(left, right, mask):
    mixed = (i64(left) << 32 | i64(right)) * i64(-7046029254386353131)
    return (mixed >> 32) & mask


def _insert(table, mask, pair):
    left, right = load(i32, pair), load(i32, pair + 4)
    slot = _slot(left, right, mask)
    while load(i32, table + 16 * slot) >= 0:
        row = table + 16 * slot
        if load(i32, row) == left and load(i32, row + 4) == right:
            return
        slot = (slot + 1) & mask
    for i in range(0, 16, 4):
        store(table + 16 * slot + i, load(i32, pair + i))


def _find(table, mask, left, right):
    """Address of the pair's row, or 0."""
    slot = _slot(left, right, mask)
    row = table + 16 * slot
    while load(i32, row) >= 0:
        if load(i32, row) == left and load(i32, row + 4) == right:
            return row
        slot = (slot + 1) & mask
        row = table + 16 * slot
    return i64(0)


def _merge(table, mask, symbols, ranks, previous, following, heap, start, end):
    size = i64(0)
    for i in range(start, end):
        store(previous + 4 * i, i32(i - 1))
        store(following + 4 * i, i32(i + 1))
        size = _look(table, mask, symbols, ranks, heap, size, i, i + 1, end)
    while size > 0:
        top = load(i64, heap)
        size = _pop(heap, size)
        i = top & 0x7FFFFFFF
        if i64(load(i32, ranks + 4 * i)) != top >> 32:
            continue
        j = i64(load(i32, following + 4 * i))
        row = _find(table, mask, load(i32, symbols + 4 * i), load(i32, symbols + 4 * j))
        after = i64(load(i32, following + 4 * j))
        store(symbols + 4 * i, load(i32, row + 12))
        store(symbols + 4 * j, i32(_GONE))
        store(ranks + 4 * j, i32(-1))
        store(following + 4 * i, i32(after))
        if after < end:
            store(previous + 4 * after, i32(i))
        size = _look(table, mask, symbols, ranks, heap, size, i, after, end)
        before = i64(load(i32, previous + 4 * i))
        if before >= start:
            size = _look(table, mask, symbols, ranks, heap, size, before, i, end)


def _look(table, mask, symbols, ranks, heap, size, i, j, end):
    """Note the rank of the pair of symbols i and j, and queue it; the queue's new size."""
    row = i64(0)
    if j < end:
        row = _find(table, mask, load(i32, symbols + 4 * i), load(i32, symbols + 4 * j))
    if row == 0:
        store(ranks + 4 * i, i32(-1))
        return size
    rank = load(i32, row + 8)
    store(ranks + 4 * i, rank)
    return _push(heap, size, i64(rank) << 32 | i)


def _push(heap, size, item):
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        above = load(i64, heap + 8 * parent)
        if above <= item:
            break
        store(heap + 8 * at, above)
        at = parent
    store(heap + 8 * at, item)
    return size + 1


def _pop(heap, size):
    """Take the least away; the queue's new size."""
    size -= 1
    item = load(i64, heap + 8 * size)
    at = i64(0)
    child = i64(1)
    while child < size:
        below = load(i64, heap + 8 * child)
        if child + 1 < size and load(i64, heap + 8 * (child + 1)) < below:
            child += 1
            below = load(i64, heap + 8 * child)
        if item <= below:
            break
        store(heap + 8 * at, below)
        at = child
        child = 2 * at + 1
    store(heap + 8 * at, item)
    return size

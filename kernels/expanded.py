"""Rows of cells that are made f32 in scratch a few at a time: their scores with several queries, elements in lanes, and
their weighted sums.
"""

from .cell_products import CHUNK, nibbles
from .cells import GROUP
from .lanes import sums16
from .simd import (
    bitcast,
    cast,
    f32,
    f32x16,
    from_half,
    i8x16,
    lane,
    load,
    splat,
    store,
    tile_fill,
    tile_fma,
    tile_get,
    tile_multiply,
    tile_spread,
    tile_store,
    u16,
    u16x16,
    u64x2,
)
from .simd.targets import current
from .vectors import first_lanes

CELLS = 64
"""Cells that are f32 in scratch at a time: a chunk is folded from so many, counted from its beginning, at a time."""


_NAN = float("nan")


def queries_at_once() -> int:
    """Queries whose sums are in registers, with two cells or two vectors of elements."""
    return 8 if current().tile_vectors >= 3 else 3


def row_stride(n):
    """Bytes of n floats in scratch: an odd number of cache lines, so that rows do not crowd in a few of its sets."""
    return ((n + 15) // 16 | 1) * 64


def expander(kv_type: str):
    """expand(cell, n, out): a cell's n elements as f32, and zeros to a whole vector."""
    half = kv_type == "f16"

    def values(cell, i):
        if half:
            return from_half(load(u16x16, cell + 2 * i))
        return load(f32x16, cell + 4 * i)

    def floats(cell, n, out):
        whole = n // 16 * 16
        for i in range(0, whole, 16):
            store(out + 4 * i, values(cell, i))
        if whole < n:
            store(out + 4 * whole, first_lanes(values(cell, whole), n - whole))

    def codes(cell, n, out):
        for i in range(0, n, GROUP):
            d = from_half(splat(u16x16, load(u16, cell + n + i // 16)))
            store(out + 4 * i, cast(f32x16, load(i8x16, cell + i)) * d)
            store(out + 4 * i + 64, cast(f32x16, load(i8x16, cell + i + 16)) * d)

    def nibbled(cell, n, out):
        for i in range(0, n, GROUP):
            d = from_half(splat(u16x16, load(u16, cell + n // 2 + i // 16)))
            low, high = nibbles(cell + i // 2)
            store(out + 4 * i, low * d)
            store(out + 4 * i + 64, high * d)

    return {"q8_0": codes, "q4_0": nibbled}.get(kv_type, floats)


def spoil(n, out):
    """In the place of a cell that could not be chosen (`indexer.NONE`): NaN, so that what is made of it is NaN."""
    for i in range(0, n, 16):
        store(out + 4 * i, splat(f32x16, f32(_NAN)))


def scorer():
    """Scores of `queries_at_once` with two cells."""
    return score_of_8 if queries_at_once() == 8 else score_of_3


def score_of_8(q, cells, row, n, out):
    """Scores of eight queries with two cells, rows `row` bytes apart; those of a query follow each other at `out`."""
    a = tile_fill(16, splat(f32x16, 0.0))
    for i in range(0, n, 16):
        a = tile_multiply(a, q + 4 * i, row, tile_spread(f32x16, cells + 4 * i, row, 2))
    put_pairs(out, sums16(tile_get(a, 0), tile_get(a, 1), tile_get(a, 2), tile_get(a, 3)))
    put_pairs(out + 2 * CHUNK * 4, sums16(tile_get(a, 4), tile_get(a, 5), tile_get(a, 6), tile_get(a, 7)))
    put_pairs(out + 4 * CHUNK * 4, sums16(tile_get(a, 8), tile_get(a, 9), tile_get(a, 10), tile_get(a, 11)))
    put_pairs(out + 6 * CHUNK * 4, sums16(tile_get(a, 12), tile_get(a, 13), tile_get(a, 14), tile_get(a, 15)))


def score_of_3(q, cells, row, n, out):
    a = tile_fill(6, splat(f32x16, 0.0))
    for i in range(0, n, 16):
        a = tile_multiply(a, q + 4 * i, row, tile_spread(f32x16, cells + 4 * i, row, 2))
    put_pairs(out, sums16(tile_get(a, 0), tile_get(a, 1), tile_get(a, 2), tile_get(a, 3)))
    two = sums16(tile_get(a, 4), tile_get(a, 5), tile_get(a, 4), tile_get(a, 5))
    store(out + 2 * CHUNK * 4, lane(bitcast(u64x2, two), 0))


def put_pairs(out, four):
    """Two scores of one query, and two of the next."""
    store(out, lane(bitcast(u64x2, four), 0))
    store(out + CHUNK * 4, lane(bitcast(u64x2, four), 1))


def gatherer():
    """gather(weights, block, row, n, out, out_stride, dim): out[t] = weights[t] . n cells, for `queries_at_once`."""
    T = queries_at_once()
    T2 = 2 * T

    def gather(weights, block, row, n, out, out_stride, dim):
        i = 0
        while i + 16 < dim:
            a = tile_fill(T2, splat(f32x16, 0.0))
            for c in range(n):
                pair = tile_spread(f32x16, block + c * row + 4 * i, 64, 2)
                a = tile_fma(a, weights + 4 * c, CHUNK * 4, pair)
            tile_store(out + 4 * i, out_stride, 64, a, 2)
            i += 32
        if i < dim:
            b = tile_fill(T, splat(f32x16, 0.0))
            for c in range(n):
                b = tile_fma(b, weights + 4 * c, CHUNK * 4, (load(f32x16, block + c * row + 4 * i),))
            tile_store(out + 4 * i, out_stride, 64, b, 1)

    return gather

"""The nearest entries of a grid for all eights (or fours) of a super-block at once: `search` of super_grid.py.

Sixteen of them lie side by side in the lanes of a vector. The error of an entry is a sum over its elements, so the sums
for all that its lower half of elements can be, and for all that its upper half can be, are made first: 81 each where
halves are 4 elements of 3 levels, 64 where they are 2 of 8. Then, for each upper half, the least of those lower halves
that the grid joins to it is one minimum an entry, since the number of a lower half stands in the last bits of its sum.
"""

from ..simd import bitcast, f32x16, gather8, i64, less, load, minimum, select, splat, store, u16, u32x16
from .points import RADIX, STARTS

_BIG = 1e30
_LEAST = 1e-20
"""Added to errors, which are about 1 or less: sums with small integers in their last bits stay clear of subnormals."""
ROWS = 81 * 64
"""Bytes of the sums of a half, for sixteen entries."""


def copy(table, size):
    """to(out): a table of `size` bytes, a multiple of 64, into memory."""

    def to(out):
        for i in range(0, size // 8, 8):
            store(out + 8 * i, gather8(table, i, i + 1, i + 2, i + 3, i + 4, i + 5, i + 6, i + 7))

    return to


def halves(levels, elements):
    """build(x, w, scale, offset, work, out): the sums of a half of sixteen entries, f32 [levels**elements][16].

    x, w: f32 [elements][16]; an element of an entry is scale * level + offset, both f32x16. The first element's level
    counts ones, the next one's `levels`, and so on. work: ROWS bytes.
    """
    count = len(levels)

    def first(x, w, scale, offset, out):
        v, weight = load(f32x16, x) - offset, load(f32x16, w)
        at = out
        for level in levels:
            r = v - scale * level
            store(at, r * r * weight + _LEAST)
            at += 64

    def widen(x, w, scale, offset, sums, n, out):
        v, weight = load(f32x16, x) - offset, load(f32x16, w)
        at = out
        for level in levels:
            r = v - scale * level
            error = r * r * weight
            for i in range(n):
                store(at, load(f32x16, sums + 64 * i) + error)
                at += 64

    if elements == 2:

        def build(x, w, scale, offset, work, out):
            first(x, w, scale, offset, work)
            widen(x + 64, w + 64, scale, offset, work, count, out)

    else:

        def build(x, w, scale, offset, work, out):
            other = work + 64 * count * count * count
            first(x, w, scale, offset, work)
            widen(x + 64, w + 64, scale, offset, work, count, other)
            widen(x + 128, w + 128, scale, offset, other, count * count, work)
            widen(x + 192, w + 192, scale, offset, work, count * count * count, out)

    return build


def number(sums, n):
    """Put its number into the last bits of each sum."""
    for i in range(n):
        v = bitcast(u32x16, load(f32x16, sums + 64 * i))
        store(sums + 64 * i, bitcast(f32x16, (v & (0xFFFFFFFF - (RADIX - 1))) | i))


def least(n):
    """find(runs, lower, upper, stride, errors, picks): of 2 x 16 entries the least errors (f32x16 each) and RADIX times
    the number of the upper half plus that of the lower (u32x16 each).

    runs: points.runs in memory; lower, upper: sums of n halves, those of the second sixteen `stride` bytes on.
    """

    def find(runs, lower, upper, stride, errors, picks):
        best_a, best_b = splat(f32x16, _BIG), splat(f32x16, _BIG)
        pick_a, pick_b = splat(u32x16, 0), splat(u32x16, 0)
        for i in range(n):
            a, b = splat(f32x16, _BIG), splat(f32x16, _BIG)
            at, end = i64(load(u16, runs + 2 * i)), i64(load(u16, runs + 2 * i + 2))
            while at < end:
                place = lower + i64(load(u16, runs + STARTS + 2 * at))
                a = minimum(load(f32x16, place), a)
                b = minimum(load(f32x16, place + stride), b)
                at += 1
            sum_a, sum_b = a + load(f32x16, upper + 64 * i), b + load(f32x16, upper + 64 * i + stride)
            better_a, better_b = less(sum_a, best_a), less(sum_b, best_b)
            best_a, best_b = select(better_a, sum_a, best_a), select(better_b, sum_b, best_b)
            pick_a = select(better_a, (bitcast(u32x16, a) & (RADIX - 1)) | (i * RADIX), pick_a)
            pick_b = select(better_b, (bitcast(u32x16, b) & (RADIX - 1)) | (i * RADIX), pick_b)
        store(errors, best_a)
        store(errors + 64, best_b)
        store(picks, pick_a)
        store(picks + 64, pick_b)

    return find

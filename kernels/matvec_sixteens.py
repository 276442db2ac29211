"""Four rows of blocks of 64 with a scale a 16 times a vector, two blocks of each row at a time.

Of each 8 bytes of nibbles the low ones are the first elements of a 16, the high ones the others: two lanes of sums.
"""

from .lanes import EVEN8, EVENS, ODD8, ODDS, QUARTERS, dot_of, pairs16, starter
from .simd import Lanes, cast, f32, f32x4, f32x16, fma, i8x64, load, prefetch, shuffle, splat, u8x32

_BOTH = Lanes(tuple(range(64)))
_QUARTER0, _QUARTER1, _QUARTER2, _QUARTER3 = QUARTERS


def four_rows(fmt):
    """See matvec. fmt: QS is where a block's nibbles are, `halves(qs)` gives the elements of those of two blocks, low
    ones and high ones; `scales_of_eight` the scales of eight blocks.
    """
    halves, scales, size, qs = fmt.halves, fmt.scales_of_eight, fmt.BYTES, fmt.QS
    dot, start = dot_of(fmt), starter(fmt)

    def row(w, after, begin, x0, x1):
        first, last = halves(shuffle(_BOTH, load(u8x32, w + qs), load(u8x32, w + after + qs)))
        return dot(dot(begin, first, x0), last, x1)

    def totals(wa, wb, wc, wd, after, x, prefetch_at):
        """Of each block and that `after` bytes on: in quarter g, sixteen number 2g of each row, and number 2g + 1."""
        for line in range(0, 8 * size, 64):
            prefetch(prefetch_at + line)
        y0, y1 = load(i8x64, x), load(i8x64, x + 64)
        x0, x1 = shuffle(EVEN8, y0, y1), shuffle(ODD8, y0, y1)
        begin = start(x0) + start(x1)
        ab = pairs16(row(wa, after, begin, x0, x1), row(wb, after, begin, x0, x1))
        cd = pairs16(row(wc, after, begin, x0, x1), row(wd, after, begin, x0, x1))
        even, odd = scales(wa, wb, wc, wd, wa + after, wb + after, wc + after, wd + after)
        return cast(f32x16, shuffle(EVENS, ab, cd)) * even, cast(f32x16, shuffle(ODDS, ab, cd)) * odd

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc, n = splat(f32x4, 0.0), k // 64
        for i in range(0, n - 1, 2):
            at, d = i * size, x_d + 8 * i
            v, w = totals(wa + at, wb + at, wc + at, wd + at, size, x + 64 * i, prefetch_at + 4 * at)
            acc = sixteens(acc, shuffle(_QUARTER0, v, v), shuffle(_QUARTER0, w, w), d)
            acc = sixteens(acc, shuffle(_QUARTER1, v, v), shuffle(_QUARTER1, w, w), d + 4)
            acc = sixteens(acc, shuffle(_QUARTER2, v, v), shuffle(_QUARTER2, w, w), d + 8)
            acc = sixteens(acc, shuffle(_QUARTER3, v, v), shuffle(_QUARTER3, w, w), d + 12)
        if n % 2 == 1:
            # The block stands for the one after it too, and the activations loaded for that lie past the row.
            at, d = (n - 1) * size, x_d + 8 * (n - 1)
            v, w = totals(wa + at, wb + at, wc + at, wd + at, 0, x + 64 * (n - 1), prefetch_at + 4 * at)
            acc = sixteens(acc, shuffle(_QUARTER0, v, v), shuffle(_QUARTER0, w, w), d)
            acc = sixteens(acc, shuffle(_QUARTER1, v, v), shuffle(_QUARTER1, w, w), d + 4)
        return acc

    return products


def sixteens(acc, first, last, d):
    """A 32 of four rows: the order in which matmul adds."""
    d = splat(f32x4, load(f32, d))
    return fma(last, d, fma(first, d, acc))

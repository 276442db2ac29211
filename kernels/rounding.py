"""Rounding: rows of floats become blocks of a format, the weighted squared errors as small as its search finds.

The way back of each format stands in `encoders`; here the work is cut, and the weights of the errors are made.
"""

from . import encoders
from .formats.table import FORMATS
from .simd import Struct, absolute, f32, f32x16, fma, hmax, hsum, i32, i32x16, i64, load, maximum, splat, sqrt, store
from .thread import Thread, claim

Params = Struct("Rounding", ("n_rows_at", "k", "x", "importance", "out", "greatest"))
"""n_rows_at: address of the number of rows; x: f32 [n_rows, k], k whole blocks; importance: f32 [k], at least 0, or 0
(every element counts the same); out: [n_rows] rows of blocks; greatest: i32 [n_rows * k / UNIT, rounded up][16], of
each unit the greatest bits of magnitudes, in 16 parts: those of NaN and infinity are greater than all others. Where
there are such, out holds nothing of use."""

UNIT = 4096
"""Elements that a thread claims at a time: whole blocks, which may belong to several rows."""


def rows(fmt: str):
    """Encode a matrix into this format. Threads claim runs of blocks."""
    row = next(f for f in FORMATS.values() if f.module == fmt)
    encoder = encoders.module(fmt)
    encode, weigh = encoder.encode, _WEIGHED[row.block > 1](encoder, row.block)
    plain = encoders.optional(encoder, "plain") or encode
    weighs = plain is encode
    block, size = row.block, row.bytes
    step = UNIT // block

    def kernel(params, thread):
        p = Params(params)
        w = Thread(thread).scratch
        scratch = w + 8 * UNIT
        n_blocks = load(i64, p.n_rows_at) * p.k // block
        units = (n_blocks + step - 1) // step
        unit = claim(thread, 1)
        while unit < units:
            first = unit * step
            n = min(step, n_blocks - first)
            x = p.x + 4 * block * first
            store(p.greatest + 64 * unit, greatest_bits(x, n * block))
            if weighs or p.importance != 0:
                weigh(p, first, n, w)
                encode(x, w, p.out + size * first, n, scratch)
            else:
                plain(x, w, p.out + size * first, n, scratch)
            unit = claim(thread, 1)

    return kernel


def greatest_bits(x, n):
    """The greatest bits of magnitudes among n elements, in 16 parts: i32x16."""
    whole, top = n // 16 * 16, splat(i32x16, 0)
    for i in range(0, whole, 16):
        top = maximum(load(i32x16, x + 4 * i) & 0x7FFFFFFF, top)
    for i in range(whole, n):
        top = maximum(splat(i32x16, load(i32, x + 4 * i)) & 0x7FFFFFFF, top)
    return top


def _unweighted(encoder, block):
    """Formats without blocks round each element by itself."""

    def weigh(p, first, n, w):
        return

    return weigh


def _weighted(encoder, block):
    sigma, by_row = encoders.optional(encoder, "SIGMA"), encoders.optional(encoder, "MEAN") == "row"
    plain = PLAIN[encoders.optional(encoder, "PLAIN")]

    def squares(x, n):
        """Mean of the squares of n elements."""
        total = splat(f32x16, 0.0)
        for i in range(0, n, 16):
            v = load(f32x16, x + 4 * i)
            total = fma(v, v, total)
        return f32(hsum(total) / f32(n))

    def important(x, importance, w, mean):
        for i in range(0, block, 16):
            v, a = load(f32x16, x + 4 * i), load(f32x16, importance + 4 * i)
            if sigma > 0.0:
                a = a * sqrt(fma(v, v, splat(f32x16, mean)))
            store(w + 4 * i, a)

    def weigh(p, first, n, w):
        per_row = p.k // block
        mean = f32(0.0)
        for b in range(n):
            at, place = p.x + 4 * block * (first + b), w + 4 * block * b
            column = (first + b) % per_row
            if p.importance == 0:
                plain(at, place, block)
            else:
                if sigma > 0.0 and not by_row:
                    mean = f32(squares(at, block) * f32(sigma))
                if sigma > 0.0 and by_row and (b == 0 or column == 0):
                    mean = f32(squares(at - 4 * block * column, p.k) * f32(sigma))
                important(at, p.importance + 4 * block * column, place, mean)
            even(place, block)

    return weigh


_FLOOR = 1e-9


def even(w, n):
    """Weights of a block with the greatest 1, none quite 0; all 1 where all were 0."""
    greatest = splat(f32x16, 0.0)
    for i in range(0, n, 16):
        greatest = maximum(load(f32x16, w + 4 * i), greatest)
    top = hmax(greatest)
    if top < f32(1e-30):
        for i in range(0, n, 16):
            store(w + 4 * i, splat(f32x16, 1.0))
        return
    factor = f32(f32(1.0) / top)
    for i in range(0, n, 16):
        store(w + 4 * i, maximum(load(f32x16, w + 4 * i) * factor, splat(f32x16, _FLOOR)))


def _ones(x, w, n):
    for i in range(0, n, 16):
        store(w + 4 * i, splat(f32x16, 1.0))


def _spread(share):
    """The magnitude, and `share` of the root mean square of a group of 32."""

    def fill(x, w, n):
        for g in range(0, n, 32):
            a, b = load(f32x16, x + 4 * g), load(f32x16, x + 4 * g + 64)
            root = sqrt(splat(f32x16, hsum(a * a + b * b)) * 0.03125) * share
            store(w + 4 * g, root + absolute(a))
            store(w + 4 * g + 64, root + absolute(b))

    return fill


def _raised(x, w, n):
    """The square, and the mean of the squares of a group of 32."""
    for g in range(0, n, 32):
        a, b = load(f32x16, x + 4 * g), load(f32x16, x + 4 * g + 64)
        a, b = a * a, b * b
        mean = splat(f32x16, hsum(a + b)) * 0.03125
        store(w + 4 * g, mean + a)
        store(w + 4 * g + 64, mean + b)


PLAIN = {
    "ones": _ones, "raised": _raised, "spread": _spread(1.0), "leaning": _spread(0.25),
}  # fmt: skip
"""Weights without an importance vector."""

_WEIGHED = (_unweighted, _weighted)

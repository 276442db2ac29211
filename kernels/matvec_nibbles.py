"""Four blocks of each of four rows, for formats whose blocks of 32 are 16 bytes of nibbles after their scales.

A quarter of 128 bits is a block: its first 16 elements are the low nibbles, the others the high ones. Sums of the four
rows end in the quarter of their block, beside their scales, which come from the blocks' first 16 bytes.
"""

from .formats import optional
from .formats.bits import join16
from .lanes import EVEN16, ODD16, QUARTERS, quarters16, starter
from .simd import (
    Lanes,
    bitcast,
    cast,
    dot4,
    dot4_u7,
    f32,
    f32x4,
    f32x16,
    fma,
    from_half,
    i8x64,
    load,
    prefetch,
    shuffle,
    splat,
    u16x32,
    u32x16,
)

# In each quarter: words of two vectors alternate; then pairs of words.
_ZIP_WORDS = Lanes(tuple(v for q in range(4) for i in range(4) for v in (8 * q + i, 32 + 8 * q + i)))
_ZIP_PAIRS = Lanes(tuple(v for q in range(4) for i in range(2) for v in (4 * q + i, 16 + 4 * q + i)))
_FIRST_WORDS = Lanes(tuple(8 * q + i for q in range(4) for i in range(4)))
_SECOND_WORDS = Lanes(tuple(8 * q + 4 + i for q in range(4) for i in range(4)))
# In each quarter: first lanes of two vectors; then pairs of lanes.
_ZIP_FIRST = Lanes(tuple(v for q in range(4) for v in (4 * q, 16 + 4 * q) * 2))
_ZIP_HALVES = Lanes(tuple(v for q in range(4) for v in (4 * q, 4 * q + 1, 16 + 4 * q, 16 + 4 * q + 1)))
_QUARTER0, _QUARTER1, _QUARTER2, _QUARTER3 = QUARTERS


def step(fmt):
    """four(wa, wb, wc, wd, x, x_d, x_s, prefetch_at, acc): acc plus four blocks at each address times 128
    activations.

    fmt: `halves(qs, heads)` gives elements 0-15 of four blocks, and 16-31, from their nibbles and their first 16 bytes;
    QS is where the nibbles are. The scale is word 0 of a block, a minimum is word 1, or `factors(words)` gives scales.
    """
    halves, size, qs, has_min = fmt.halves, fmt.BYTES, fmt.QS, fmt.HAS_MIN
    dot, start = dot4_u7 if fmt.MAX_CODE < 128 else dot4, starter(fmt)
    scales = _factors(fmt) if optional(fmt, "factors") else _halves(fmt)

    def row(w, begin, x0, x1):
        """Sums of a row's products, block by block, and the blocks' heads."""
        heads = join16(w, w + size, w + 2 * size, w + 3 * size)
        at = w + qs
        first, last = halves(join16(at, at + size, at + 2 * size, at + 3 * size), heads)
        return dot(dot(begin, first, x0), last, x1), bitcast(u32x16, heads)

    def four(wa, wb, wc, wd, x, x_d, x_s, prefetch_at, acc):
        for line in range(0, 16 * size, 64):
            prefetch(prefetch_at + line)
        y0, y1 = load(i8x64, x), load(i8x64, x + 64)
        x0, x1 = shuffle(EVEN16, y0, y1), shuffle(ODD16, y0, y1)
        begin = start(x0) + start(x1)
        ta, ha = row(wa, begin, x0, x1)
        tb, hb = row(wb, begin, x0, x1)
        tc, hc = row(wc, begin, x0, x1)
        td, hd = row(wd, begin, x0, x1)
        d, m = scales(ha, hb, hc, hd)
        v = cast(f32x16, quarters16(ta, tb, tc, td)) * d
        acc = block(acc, shuffle(_QUARTER0, v, v), shuffle(_QUARTER0, m, m), x_d, x_s)
        acc = block(acc, shuffle(_QUARTER1, v, v), shuffle(_QUARTER1, m, m), x_d + 4, x_s + 4)
        acc = block(acc, shuffle(_QUARTER2, v, v), shuffle(_QUARTER2, m, m), x_d + 8, x_s + 8)
        return block(acc, shuffle(_QUARTER3, v, v), shuffle(_QUARTER3, m, m), x_d + 12, x_s + 12)

    def block(acc, v, m, d, s):
        """One block of four rows: the order in which matmul adds."""
        acc = fma(v, splat(f32x4, load(f32, d)), acc)
        if has_min:
            acc = fma(m, splat(f32x4, load(f32, s)), acc)
        return acc

    return four


def _halves(fmt):
    """scales(ha, hb, hc, hd): scales and minimums of the blocks whose first 16 bytes these are, row by row."""
    has_min = fmt.HAS_MIN

    def scales(ha, hb, hc, hd):
        ha, hb, hc, hd = bitcast(u16x32, ha), bitcast(u16x32, hb), bitcast(u16x32, hc), bitcast(u16x32, hd)
        ab, cd = bitcast(u32x16, shuffle(_ZIP_WORDS, ha, hb)), bitcast(u32x16, shuffle(_ZIP_WORDS, hc, hd))
        words = bitcast(u16x32, shuffle(_ZIP_PAIRS, ab, cd))
        d = from_half(shuffle(_FIRST_WORDS, words, words))
        m = d
        if has_min:
            m = from_half(shuffle(_SECOND_WORDS, words, words))
        return d, m

    return scales


def _factors(fmt):
    """The same for a scale of another kind."""
    factors = fmt.factors

    def scales(ha, hb, hc, hd):
        ab, cd = shuffle(_ZIP_FIRST, ha, hb), shuffle(_ZIP_FIRST, hc, hd)
        d = factors(shuffle(_ZIP_HALVES, ab, cd))
        return d, d

    return scales

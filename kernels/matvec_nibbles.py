"""Four blocks of each of four rows, for formats whose blocks of 32 are 16 bytes of nibbles after their scales.

A quarter of 128 bits is a block: its first 16 elements are the low nibbles, the others the high ones. Sums of the four
rows end in the quarter of their block, beside their scales, which come from the blocks' first 16 bytes.
"""

from .formats import optional
from .formats.bits import join16
from .lanes import (
    EACH,
    EVEN16,
    FOUR_TIMES,
    ODD16,
    QUARTERS,
    by_quarters,
    quarters16,
    starter,
    sums_of_32s,
    to_quarters,
    two_dots,
)
from .simd import (
    Lanes,
    bitcast,
    cast,
    f32,
    f32x4,
    f32x16,
    fma,
    from_half,
    i8x32,
    i8x64,
    i32,
    i32x4,
    i32x16,
    load,
    prefetch,
    shuffle,
    splat,
    store,
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


def step(fmt, is_arranged):
    """four(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at, acc): acc plus four blocks at each address times 128
    activations. is_arranged: x and x_s are what `arrangement` has made of them.

    fmt: `halves(qs, heads)` gives elements 0-15 of four blocks, and 16-31, from their nibbles and their first 16 bytes;
    QS is where the nibbles are. The scale is word 0 of a block, a minimum is word 1, or `factors(words)` gives scales.
    """
    halves, size, qs, has_min, quarters = fmt.halves, fmt.BYTES, fmt.QS, fmt.HAS_MIN, to_quarters()
    dots, start, is_taken_off = two_dots(fmt), starter(fmt), is_arranged and fmt.OFFSET
    scales = scales_of(fmt)

    def row(w, begin, x0, x1):
        """Sums of a row's products, block by block, and the blocks' heads."""
        heads = join16(w, w + size, w + 2 * size, w + 3 * size)
        at = w + qs
        first, last = halves(join16(at, at + size, at + 2 * size, at + 3 * size), heads)
        return dots(begin, first, x0, last, x1), bitcast(u32x16, heads)

    def four(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at, acc):
        for line in range(0, 16 * size, 64):
            prefetch(prefetch_at + line)
        x0, x1, begin = load(i8x64, x), load(i8x64, x + 64), splat(i32x16, 0)
        if not is_arranged:
            x0, x1 = shuffle(EVEN16, x0, x1), shuffle(ODD16, x0, x1)
            begin = start(x0) + start(x1)
        ta, ha = row(wa, begin, x0, x1)
        tb, hb = row(wb, begin, x0, x1)
        tc, hc = row(wc, begin, x0, x1)
        td, hd = row(wd, begin, x0, x1)
        d, m = scales(ha, hb, hc, hd)
        totals = quarters(ta, tb, tc, td)
        if is_taken_off:
            totals = totals + load(i32x16, x_s)
        v = cast(f32x16, totals) * d
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


def arrangement(fmt):
    """arrange(k, x, x_s, y), see matvec.arrangement: of 128 activations the sixteens with an even number first. Behind
    all of them stands what the offset of the codes takes off, i32 [4 blocks][4 rows of weights] of each 128, or x_s.
    What is left of a row stays as it is."""
    start, offset = starter(fmt), fmt.OFFSET

    def arrange(k, x, x_s, y):
        whole = k // 128 * 128
        for i in range(0, whole, 128):
            y0, y1 = load(i8x64, x + i), load(i8x64, x + i + 64)
            x0, x1 = shuffle(EVEN16, y0, y1), shuffle(ODD16, y0, y1)
            store(y + i, x0)
            store(y + i + 64, x1)
            if offset:
                begin = start(x0) + start(x1)
                store(y + k + i // 2, quarters16(begin, begin, begin, begin))
        for i in range(whole, k, 32):
            store(y + i, load(i8x32, x + i))
        if not offset:
            for i in range(0, k // 8, 4):
                store(y + k + i, load(f32, x_s + i))

    return arrange


def scales_of(fmt):
    """scales(ha, hb, hc, hd): scales and minimums of the blocks whose first 16 bytes these are, row by row."""
    return _factors(fmt) if optional(fmt, "factors") else _halves(fmt)


def _halves(fmt):
    """They are binary16."""
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
    """A scale of another kind."""
    factors = fmt.factors

    def scales(ha, hb, hc, hd):
        ab, cd = shuffle(_ZIP_FIRST, ha, hb), shuffle(_ZIP_FIRST, hc, hd)
        d = factors(shuffle(_ZIP_HALVES, ab, cd))
        return d, d

    return scales


_SCALE, _SUM, _OFF = 512, 576, 640
RECORD = 704
_EACH0, _EACH1, _EACH2, _EACH3 = EACH


def in_fours(fmt):
    """by_fours takes this format."""
    plain = optional(fmt, "PER") == 1 and optional(fmt, "SCALE_AT") == 0 and not fmt.HAS_MIN
    return optional(fmt, "halves") is not None or plain


def _pieces(fmt):
    """pieces(w, heads): elements 0-15 of the four blocks from w on, and 16-31, a quarter each."""
    size, halves = fmt.BYTES, optional(fmt, "halves")
    if halves is None:
        codes = fmt.codes

        def of_codes(w, heads):
            a, b = codes(w, w + size), codes(w + 2 * size, w + 3 * size)
            return shuffle(EVEN16, a, b), shuffle(ODD16, a, b)

        return of_codes
    qs = fmt.QS

    def of_nibbles(w, heads):
        at = w + qs
        return halves(join16(at, at + size, at + 2 * size, at + 3 * size), heads)

    return of_nibbles


def by_fours(fmt):
    """arrange(x, x_d, x_s, y, t): put 128 activations of row t of four into the record at y; step(wa, wb, wc, wd, y,
    prefetch_at, acc): acc plus four blocks at each address times a record, f32x16 [row of weights][row of x].

    A record: codes, i8 [4][128], sixteens with an even number first; of each of four blocks the scales, f32 [4], the
    scaled sums, f32 [4], and what their codes' offset takes off, i32 [4].
    """
    if not in_fours(fmt):
        return None, None
    pieces, size, has_min, offset = _pieces(fmt), fmt.BYTES, fmt.HAS_MIN, fmt.OFFSET
    dots = two_dots(fmt)
    scales = scales_of(fmt)

    def arrange(x, x_d, x_s, y, t):
        y0, y1 = load(i8x64, x), load(i8x64, x + 64)
        store(y + 128 * t, shuffle(EVEN16, y0, y1))
        store(y + 128 * t + 64, shuffle(ODD16, y0, y1))
        n0, n1 = sums_of_32s(y0)
        n2, n3 = sums_of_32s(y1)
        of_block(x_d, x_s, y, t, n0)
        of_block(x_d + 4, x_s + 4, y + 16, t, n1)
        of_block(x_d + 8, x_s + 8, y + 32, t, n2)
        of_block(x_d + 12, x_s + 12, y + 48, t, n3)

    def of_block(d, s, y, t, total):
        store(y + _SCALE + 4 * t, load(f32, d))
        store(y + _SUM + 4 * t, load(f32, s))
        store(y + _OFF + 4 * t, i32(total * -offset))

    def row(w, y):
        """In each quarter, a block's products with four rows; and the blocks' heads."""
        heads, zero = join16(w, w + size, w + 2 * size, w + 3 * size), splat(i32x16, 0)
        first, last = pieces(w, heads)
        return quarters16(
            dots(zero, first, load(i8x64, y), last, load(i8x64, y + 64)),
            dots(zero, first, load(i8x64, y + 128), last, load(i8x64, y + 192)),
            dots(zero, first, load(i8x64, y + 256), last, load(i8x64, y + 320)),
            dots(zero, first, load(i8x64, y + 384), last, load(i8x64, y + 448)),
        ), bitcast(u32x16, heads)  # fmt: skip

    def step(wa, wb, wc, wd, y, prefetch_at, acc):
        for line in range(0, 16 * size, 64):
            prefetch(prefetch_at + line)
        ta, ha = row(wa, y)
        tb, hb = row(wb, y)
        tc, hc = row(wc, y)
        td, hd = row(wd, y)
        d, m = scales(ha, hb, hc, hd)
        t0, t1, t2, t3 = by_quarters(ta, tb, tc, td)
        acc = block(t0, shuffle(_EACH0, d, d), shuffle(_EACH0, m, m), y, acc)
        acc = block(t1, shuffle(_EACH1, d, d), shuffle(_EACH1, m, m), y + 16, acc)
        acc = block(t2, shuffle(_EACH2, d, d), shuffle(_EACH2, m, m), y + 32, acc)
        return block(t3, shuffle(_EACH3, d, d), shuffle(_EACH3, m, m), y + 48, acc)

    def block(total, f, m, y, acc):
        """One block: the order in which matmul adds."""
        if offset:
            off = load(i32x4, y + _OFF)
            total = total + shuffle(FOUR_TIMES, off, off)
        d = load(f32x4, y + _SCALE)
        acc = fma(cast(f32x16, total) * f, shuffle(FOUR_TIMES, d, d), acc)
        if has_min:
            s = load(f32x4, y + _SUM)
            acc = fma(m, shuffle(FOUR_TIMES, s, s), acc)
        return acc

    return arrange, step

"""Matrix-vector products in place: what a token costs. Weights are read once, at the speed of memory.

A thread claims a few rows at a time; four run together: each load of the activations serves all four, and their sums
are formed side by side. The integer
part of a product is exact, and floats are added in the order in which matmul adds them: a token gives the same bits
alone and in a batch.
"""

from . import formats
from .simd import (
    Lanes,
    Struct,
    cast,
    dot2,
    dot4,
    dot4_u7,
    f32,
    f32x4,
    f32x8,
    f32x16,
    fma,
    from_half,
    hsum,
    i8x64,
    i16x16,
    i32x8,
    i32x16,
    lane,
    load,
    make4,
    make8,
    pack16,
    prefetch,
    shuffle,
    splat,
    store,
    u8x64,
    u16,
    u16x8,
)
from .thread import Step, claim

Params = Struct("MatVec", ("w", "row_bytes", "n", "k", "x", "x_d", "x_s", "bias", "add", "out", "step", "chunk"))
"""out[n] = w[n, k] @ x (+ bias) (+ add), f32. x: see quantize.rows, or f32 [k] for float formats. bias, add: f32 [n] or
0; add may be out. out 0: the logits of the step block. chunk: rows claimed at a time, a multiple of 4."""

AHEAD = 2304
"""Bytes: how far before its use a weight is asked for, at least. With every line asked for: 1.4 times as fast."""


def rows(fmt: str):
    """The kernel for weights in this format."""
    products = four_rows(fmt)

    def kernel(params, thread):
        p = Params(params)
        out = p.out
        if out == 0:
            out = Step(p.step).logits
        ahead = ahead_of(p.row_bytes)
        first = claim(thread, p.chunk)
        while first < p.n:
            last = min(first + p.chunk, p.n)
            for r in range(first, last, 4):
                values = products(p.w, p.row_bytes, r, last, p.k, p.x, p.x_d, p.x_s, ahead)
                finish(p.bias, p.add, out, r, min(4, last - r), values)
            first = claim(thread, p.chunk)

    return kernel


def finish(bias, add, out, r, n, values):
    """Add bias and residual to n of four results, and store them."""
    if n == 4:
        if bias != 0:
            values = values + load(f32x4, bias + 4 * r)
        if add != 0:
            values = values + load(f32x4, add + 4 * r)
        store(out + 4 * r, values)
        return
    for i in range(n):
        value = lane(values, i)
        if bias != 0:
            value = f32(value + load(f32, bias + 4 * (r + i)))
        if add != 0:
            value = f32(value + load(f32, add + 4 * (r + i)))
        store(out + 4 * (r + i), value)


def ahead_of(row_bytes):
    """Bytes to look ahead: rows run four at a time, so that of short rows it is whole fours of them that come next."""
    four = 4 * row_bytes
    if four < 4 * AHEAD:
        return (AHEAD + four - 1) // four * four
    return AHEAD


def four_rows(fmt: str):
    """products(w, row_bytes, r, last, k, x, x_d, x_s, ahead): of rows r to r + 3 of w with x, f32x4.

    ahead: see ahead_of. Where fewer than four rows are left before `last`, the last one repeats.
    """
    format_ = formats.module(fmt)
    products = _FOUR_ROWS[format_.KIND](format_)

    def from_row(w, row_bytes, r, last, k, x, x_d, x_s, ahead):
        wa = w + r * row_bytes
        wb = w + min(r + 1, last - 1) * row_bytes
        wc = w + min(r + 2, last - 1) * row_bytes
        wd = w + min(r + 3, last - 1) * row_bytes
        return products(wa, wb, wc, wd, k, x, x_d, x_s, ahead)

    return from_row


def _float(fmt):
    values, value, size = fmt.values, fmt.value, fmt.SIZE

    def products(wa, wb, wc, wd, k, x, x_d, x_s, ahead):
        zero = splat(f32x16, 0.0)
        a0, a1, b0, b1, c0, c1, d0, d1 = zero, zero, zero, zero, zero, zero, zero, zero
        whole = k // 32 * 32
        for i in range(0, whole, 32):
            x0, x1, at = load(f32x16, x + 4 * i), load(f32x16, x + 4 * i + 64), i * size
            prefetch(wa + at + ahead)
            prefetch(wb + at + ahead)
            prefetch(wc + at + ahead)
            prefetch(wd + at + ahead)
            next_ = at + 16 * size
            a0, a1 = fma(values(wa + at), x0, a0), fma(values(wa + next_), x1, a1)
            b0, b1 = fma(values(wb + at), x0, b0), fma(values(wb + next_), x1, b1)
            c0, c1 = fma(values(wc + at), x0, c0), fma(values(wc + next_), x1, c1)
            d0, d1 = fma(values(wd + at), x0, d0), fma(values(wd + next_), x1, d1)
        totals = make4(f32x4, hsum(a0 + a1), hsum(b0 + b1), hsum(c0 + c1), hsum(d0 + d1))
        for i in range(whole, k):
            at = i * size
            w = make4(f32x4, value(wa + at), value(wb + at), value(wc + at), value(wd + at))
            totals = fma(w, splat(f32x4, load(f32, x + 4 * i)), totals)
        return totals

    return products


# Four vectors, each in quarters of 128 bits, halved twice: lane i of a quarter is the sum of that quarter of vector i.


def _zips(quarters: int):
    """Patterns that pair lanes 0 and 1, and 2 and 3, of two vectors' quarters; then their halves."""
    n = 4 * quarters
    return (
        Lanes(tuple(4 * q + i // 2 + n * (i % 2) for q in range(quarters) for i in range(4))),
        Lanes(tuple(4 * q + 2 + i // 2 + n * (i % 2) for q in range(quarters) for i in range(4))),
        Lanes(tuple(4 * q + i % 2 + n * (i // 2) for q in range(quarters) for i in range(4))),
        Lanes(tuple(4 * q + 2 + i % 2 + n * (i // 2) for q in range(quarters) for i in range(4))),
    )


_LOW32, _HIGH32, _LOW64, _HIGH64 = _zips(4)
_LOW32H, _HIGH32H, _LOW64H, _HIGH64H = _zips(2)
_EVEN128 = Lanes((0, 1, 2, 3, 8, 9, 10, 11))
_ODD128 = Lanes((4, 5, 6, 7, 12, 13, 14, 15))
_LOWER8, _UPPER8 = Lanes(tuple(range(8))), Lanes(tuple(range(8, 16)))
_LOWER4, _UPPER4 = Lanes((0, 1, 2, 3)), Lanes((4, 5, 6, 7))


def quarters16(a, b, c, d):
    """Of four i32x16: in each quarter of 128 bits the sums of that quarter of a, b, c, d."""
    ab = shuffle(_LOW32, a, b) + shuffle(_HIGH32, a, b)
    cd = shuffle(_LOW32, c, d) + shuffle(_HIGH32, c, d)
    return shuffle(_LOW64, ab, cd) + shuffle(_HIGH64, ab, cd)


def sums16(a, b, c, d):
    """Sums of all lanes of four i32x16: i32x4."""
    v = quarters16(a, b, c, d)
    v = shuffle(_LOWER8, v, v) + shuffle(_UPPER8, v, v)
    return shuffle(_LOWER4, v, v) + shuffle(_UPPER4, v, v)


def sums8(a, b, c, d):
    """Sums of all lanes of four i32x8: i32x4."""
    ab = shuffle(_LOW32H, a, b) + shuffle(_HIGH32H, a, b)
    cd = shuffle(_LOW32H, c, d) + shuffle(_HIGH32H, c, d)
    v = shuffle(_LOW64H, ab, cd) + shuffle(_HIGH64H, ab, cd)
    return shuffle(_LOWER4, v, v) + shuffle(_UPPER4, v, v)


def starter(fmt):
    """start(x): what to begin a product of codes with x at: what their offset adds is taken off beforehand."""
    offset, dot = fmt.OFFSET, dot4_u7 if fmt.U7 else dot4

    def start(x):
        if offset:
            return splat(i32x16, 0) - dot(splat(i32x16, 0), splat(u8x64, offset), x)
        return splat(i32x16, 0)

    return start


def _block32(fmt):
    if hasattr(fmt, "SCALES"):
        return _block16(fmt)
    codes, block = formats.in_32s(fmt)
    has_min, dot, start = fmt.HAS_MIN, dot4_u7 if fmt.U7 else dot4, starter(fmt)
    scales = _of_eight(fmt.scale, getattr(fmt, "SCALE_AT", None), block)
    minimums = _of_eight(fmt.minimum, getattr(fmt, "MINIMUM_AT", None), block)

    def pair(wa, wb, wc, wd, i, j, ahead, x, d, s, acc):
        """Add 32s number i and j of each row, or the first alone where they are one: exact integer products, scaled.

        matmul does the same, in the same order.
        """
        at = block(ahead, i)
        prefetch(wa + at)
        prefetch(wb + at)
        prefetch(wc + at)
        prefetch(wd + at)
        zero = start(x)
        ta, tb = dot(zero, codes(wa, i, j), x), dot(zero, codes(wb, i, j), x)
        tc, td = dot(zero, codes(wc, i, j), x), dot(zero, codes(wd, i, j), x)
        v = quarters16(ta, tb, tc, td)
        totals = cast(f32x8, shuffle(_EVEN128, v, v) + shuffle(_ODD128, v, v)) * scales(wa, wb, wc, wd, i, j)
        m = totals
        acc = fma(shuffle(_LOWER4, totals, totals), splat(f32x4, load(f32, d)), acc)
        if has_min:
            m = minimums(wa, wb, wc, wd, i, j)
            acc = fma(shuffle(_LOWER4, m, m), splat(f32x4, load(f32, s)), acc)
        if i != j:
            acc = fma(shuffle(_UPPER4, totals, totals), splat(f32x4, load(f32, d + 4)), acc)
            if has_min:
                acc = fma(shuffle(_UPPER4, m, m), splat(f32x4, load(f32, s + 4)), acc)
        return acc

    def products(wa, wb, wc, wd, k, x, x_d, x_s, ahead):
        acc = splat(f32x4, 0.0)
        n = k // 32
        for i in range(0, n - 1, 2):
            acc = pair(wa, wb, wc, wd, i, i + 1, ahead, load(i8x64, x + 32 * i), x_d + 4 * i, x_s + 4 * i, acc)
        if n % 2 == 1:
            # The upper half of what is loaded of x lies past the row; its sums are left aside.
            i = n - 1
            acc = pair(wa, wb, wc, wd, i, i, ahead, load(i8x64, x + 32 * i), x_d + 4 * i, x_s + 4 * i, acc)
        return acc

    return products


def _of_eight(number, half_at, block):
    """eight(wa, wb, wc, wd, i, j): a number of 32 number i of each of four rows, then of number j: f32x8.

    half_at: byte of the block where it stands as binary16, if it does: then all eight are converted at once.
    """
    if half_at is None:

        def eight(wa, wb, wc, wd, i, j):
            return make8(
                f32x8, number(block(wa, i)), number(block(wb, i)), number(block(wc, i)), number(block(wd, i)),
                number(block(wa, j)), number(block(wb, j)), number(block(wc, j)), number(block(wd, j)),
            )  # fmt: skip

        return eight

    def eight_halves(wa, wb, wc, wd, i, j):
        at, after = block(half_at, i), block(half_at, j)
        bits = make8(
            u16x8, load(u16, wa + at), load(u16, wb + at), load(u16, wc + at), load(u16, wd + at),
            load(u16, wa + after), load(u16, wb + after), load(u16, wc + after), load(u16, wd + after),
        )  # fmt: skip
        return from_half(bits)

    return eight_halves


_QUARTER0, _QUARTER1, _QUARTER2, _QUARTER3 = (Lanes(tuple(range(4 * i, 4 * i + 4))) for i in range(4))


def _block16(fmt):
    """Blocks of 64 elements with a scale a 16."""
    codes, block = formats.in_32s(fmt)
    scales = fmt.scales_of_four
    dot, start = dot4_u7 if fmt.U7 else dot4, starter(fmt)

    def products(wa, wb, wc, wd, k, x, x_d, x_s, ahead):
        acc = splat(f32x4, 0.0)
        for i in range(0, k // 32, 2):
            xq, d0, d1 = load(i8x64, x + 32 * i), load(f32, x_d + 4 * i), load(f32, x_d + 4 * i + 4)
            pa, pb, pc, pd = block(wa, i), block(wb, i), block(wc, i), block(wd, i)
            prefetch(pa + ahead)
            prefetch(pb + ahead)
            prefetch(pc + ahead)
            prefetch(pd + ahead)
            zero = start(xq)
            ta, tb = dot(zero, codes(wa, i, i + 1), xq), dot(zero, codes(wb, i, i + 1), xq)
            tc, td = dot(zero, codes(wc, i, i + 1), xq), dot(zero, codes(wd, i, i + 1), xq)
            # Quarter g: sixteen number g of each row, an exact integer, scaled; matmul adds in the same order.
            v = cast(f32x16, quarters16(ta, tb, tc, td)) * scales(pa, pb, pc, pd)
            acc = fma(shuffle(_QUARTER0, v, v), splat(f32x4, d0), acc)
            acc = fma(shuffle(_QUARTER1, v, v), splat(f32x4, d0), acc)
            acc = fma(shuffle(_QUARTER2, v, v), splat(f32x4, d1), acc)
            acc = fma(shuffle(_QUARTER3, v, v), splat(f32x4, d1), acc)
        return acc

    return products


# Lane 4i + j of a packed pair of runs holds group i of the first run (j < 4 of each 8) or of the second.
_PAIR01 = Lanes(tuple(g + 4 * run for g in range(4) for run in (0, 1) for _ in range(4)))
_PAIR23 = Lanes(tuple(8 + g + 4 * run for g in range(4) for run in (0, 1) for _ in range(4)))


# In 32 bits, lane i of a run belongs to group 4 * run + i // 4.
_RUN0, _RUN1, _RUN2, _RUN3 = (Lanes(tuple(4 * run + i // 4 for i in range(16))) for run in range(4))


def scaled(t0, t1, t2, t3, sc):
    """Sums of fours times their groups' scales, where 16 bits hold the sums: i32x16."""
    t = dot2(splat(i32x16, 0), pack16(t0, t1), shuffle(_PAIR01, sc, sc))
    return dot2(t, pack16(t2, t3), shuffle(_PAIR23, sc, sc))


def scaled_wide(t0, t1, t2, t3, sc):
    """The same, where they do not."""
    wide = cast(i32x16, sc)
    t = t0 * shuffle(_RUN0, wide, wide) + t1 * shuffle(_RUN1, wide, wide)
    return t + t2 * shuffle(_RUN2, wide, wide) + t3 * shuffle(_RUN3, wide, wide)


def _super(fmt):
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, has_min = fmt.BYTES, fmt.HAS_MIN
    dot, start = dot4_u7 if fmt.U7 else dot4, starter(fmt)
    times = scaled_wide if getattr(fmt, "WIDE", 0) else scaled

    def block(p, ahead, x0, x1, x2, x3, s0, s1, s2, s3):
        """A super-block: four products of 64 codes, times their groups' scales.

        The sum of the lanes is an exact integer; two float operations a super-block remain, which matmul does in the
        same order.
        """
        for line in range(0, size, 64):
            prefetch(p + ahead + line)
        sc = scales(p)
        t0, t1 = dot(s0, codes(p, 0), x0), dot(s1, codes(p, 1), x1)
        t2, t3 = dot(s2, codes(p, 2), x2), dot(s3, codes(p, 3), x3)
        return times(t0, t1, t2, t3, sc)

    def products(wa, wb, wc, wd, k, x, x_d, x_s, ahead):
        acc = splat(f32x4, 0.0)
        for i in range(k // 256):
            q, at = x + 256 * i, i * size
            x0, x1, x2, x3 = load(i8x64, q), load(i8x64, q + 64), load(i8x64, q + 128), load(i8x64, q + 192)
            s0, s1, s2, s3 = start(x0), start(x1), start(x2), start(x3)
            a = block(wa + at, ahead, x0, x1, x2, x3, s0, s1, s2, s3)
            b = block(wb + at, ahead, x0, x1, x2, x3, s0, s1, s2, s3)
            c = block(wc + at, ahead, x0, x1, x2, x3, s0, s1, s2, s3)
            e = block(wd + at, ahead, x0, x1, x2, x3, s0, s1, s2, s3)
            xd = load(f32, x_d + 4 * i)
            factors = make4(f32x4, d(wa + at), d(wb + at), d(wc + at), d(wd + at)) * xd
            acc = fma(cast(f32x4, sums16(a, b, c, e)), factors, acc)
            if has_min:
                sums, zero = load(i16x16, x_s + 32 * i), splat(i32x8, 0)
                m = sums8(
                    dot2(zero, minimums(wa + at), sums), dot2(zero, minimums(wb + at), sums),
                    dot2(zero, minimums(wc + at), sums), dot2(zero, minimums(wd + at), sums),
                )  # fmt: skip
                factors = make4(f32x4, dmin(wa + at), dmin(wb + at), dmin(wc + at), dmin(wd + at)) * f32(-xd)
                acc = fma(cast(f32x4, m), factors, acc)
        return acc

    return products


_FOUR_ROWS = {"float": _float, "block32": _block32, "super": _super}

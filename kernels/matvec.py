"""Matrix-vector products in place: what a token costs. Weights are read once, at the speed of memory.

A thread claims a few rows at a time; two rows run together, so that each load of the activations serves both. The
integer part of a product is exact, and floats are added in the order in which matmul adds them, so that a token gives
the same bits alone and in a batch.
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
    f32x8,
    f32x16,
    fma,
    hsum,
    i8x64,
    i16x16,
    i32x8,
    i32x16,
    lane,
    load,
    pack16,
    prefetch,
    shuffle,
    splat,
    store,
    u8x64,
)
from .thread import Step, claim

Params = Struct(
    "MatVec", ("w", "row_bytes", "n", "k", "x", "x_d", "x_s", "bias", "add", "out", "step", "chunk")
)
"""out[n] = w[n, k] @ x (+ bias) (+ add), f32. x: see quantize.rows, or f32 [k] for float formats. bias, add: f32 [n] or
0; add may be out. out 0: the logits of the step block. chunk: rows claimed at a time, even."""

AHEAD = 2304
"""Bytes: how far before its use a weight is asked for. Worth 1.5 times the speed of leaving it to the processor."""


def rows(fmt: str):
    """The kernel for weights in this format."""
    two_rows_of = two_rows(fmt)

    def kernel(params, thread):
        p = Params(params)
        out = p.out
        if out == 0:
            out = Step(p.step).logits
        first = claim(thread, p.chunk)
        while first < p.n:
            last = min(first + p.chunk, p.n)
            for r in range(first, last, 2):
                # The last row of an odd number goes with itself.
                second = min(r + 1, last - 1)
                a, b = two_rows_of(p.w + r * p.row_bytes, p.w + second * p.row_bytes, p.k, p.x, p.x_d, p.x_s)
                finish(p.bias, p.add, out, r, a)
                if second > r:
                    finish(p.bias, p.add, out, second, b)
            first = claim(thread, p.chunk)

    return kernel


def two_rows(fmt: str):
    """two_rows(a, b, k, x, x_d, x_s): the products of the rows of weights at a and b with the activations."""
    format_ = formats.module(fmt)
    return _TWO_ROWS[format_.KIND](format_)


def finish(bias, add, out, r, value):
    if bias != 0:
        value = f32(value + load(f32, bias + 4 * r))
    if add != 0:
        value = f32(value + load(f32, add + 4 * r))
    store(out + 4 * r, value)


def _float(fmt):
    values, value, size = fmt.values, fmt.value, fmt.SIZE

    def two_rows(wa, wb, k, x, x_d, x_s):
        zero = splat(f32x16, 0.0)
        a0, a1, b0, b1 = zero, zero, zero, zero
        whole = k // 32 * 32
        for i in range(0, whole, 32):
            x0, x1 = load(f32x16, x + 4 * i), load(f32x16, x + 4 * i + 64)
            pa, pb = wa + i * size, wb + i * size
            prefetch(pa + AHEAD)
            prefetch(pb + AHEAD)
            a0, a1 = fma(values(pa), x0, a0), fma(values(pa + 16 * size), x1, a1)
            b0, b1 = fma(values(pb), x0, b0), fma(values(pb + 16 * size), x1, b1)
        a, b = hsum(a0 + a1), hsum(b0 + b1)
        for i in range(whole, k):
            xi = load(f32, x + 4 * i)
            a, b = fma(value(wa + i * size), xi, a), fma(value(wb + i * size), xi, b)
        return a, b

    return two_rows


# Four vectors of two sums of eight lanes each, halved three times into one vector of eight sums.
_LOW32 = Lanes(tuple(4 * q + i // 2 + 16 * (i % 2) for q in range(4) for i in range(4)))
_HIGH32 = Lanes(tuple(4 * q + 2 + i // 2 + 16 * (i % 2) for q in range(4) for i in range(4)))
_LOW64 = Lanes(tuple(4 * q + i % 2 + 16 * (i // 2) for q in range(4) for i in range(4)))
_HIGH64 = Lanes(tuple(4 * q + 2 + i % 2 + 16 * (i // 2) for q in range(4) for i in range(4)))
_EVEN128 = Lanes((0, 1, 2, 3, 8, 9, 10, 11))
_ODD128 = Lanes((4, 5, 6, 7, 12, 13, 14, 15))


def sums16(t0, t1, t2, t3):
    """Sums of four lanes: lane 4 * i + j is that of lanes 4 * i to 4 * i + 3 of tj."""
    a = shuffle(_LOW32, t0, t1) + shuffle(_HIGH32, t0, t1)
    b = shuffle(_LOW32, t2, t3) + shuffle(_HIGH32, t2, t3)
    return shuffle(_LOW64, a, b) + shuffle(_HIGH64, a, b)


def sums8(t0, t1, t2, t3):
    """Sums of lanes 0-7 of t0, t1, t2, t3, then of their lanes 8-15: i32x8."""
    c = sums16(t0, t1, t2, t3)
    return shuffle(_EVEN128, c, c) + shuffle(_ODD128, c, c)


def _block32(fmt):
    if hasattr(fmt, "SCALES"):
        return _block16(fmt)
    codes, block = formats.in_32s(fmt)
    scale, minimum, offset, has_min = fmt.scale, fmt.minimum, fmt.OFFSET, fmt.HAS_MIN
    dot = dot4_u7 if fmt.U7 else dot4

    def start_of(x):
        """What the codes' offset adds to a product, taken off beforehand."""
        if offset:
            return splat(i32x16, 0) - dot(splat(i32x16, 0), splat(u8x64, offset), x)
        return splat(i32x16, 0)

    def add(total, p, d, s, acc):
        """One block: its exact integer product, scaled. matmul does the same, in the same order."""
        acc = fma(f32(total * scale(p)), load(f32, d), acc)
        if has_min:
            acc = fma(minimum(p), load(f32, s), acc)
        return acc

    def eight(p, x0, x1, x2, x3, s0, s1, s2, s3, d, s, acc):
        prefetch(p + AHEAD)
        prefetch(p + AHEAD + 64)
        prefetch(p + AHEAD + 128)
        t0, t1 = dot(s0, codes(p, 0, 1), x0), dot(s1, codes(p, 2, 3), x1)
        t2, t3 = dot(s2, codes(p, 4, 5), x2), dot(s3, codes(p, 6, 7), x3)
        totals = cast(f32x8, sums8(t0, t1, t2, t3))
        for j in range(8):
            acc = add(lane(totals, j % 2 * 4 + j // 2), block(p, j), d + 4 * j, s + 4 * j, acc)
        return acc

    def one(w, i, x, start, d, s, acc):
        t = dot(start, codes(w, i, i), x)
        return add(f32(hsum(shuffle(_FIRST8, t, t))), block(w, i), d, s, acc)

    def two_rows(wa, wb, k, x, x_d, x_s):
        a, b = f32(0.0), f32(0.0)
        n = k // 32
        whole = n // 8 * 8
        for i in range(0, whole, 8):
            q, d, s = x + 32 * i, x_d + 4 * i, x_s + 4 * i
            x0, x1, x2, x3 = load(i8x64, q), load(i8x64, q + 64), load(i8x64, q + 128), load(i8x64, q + 192)
            s0, s1, s2, s3 = start_of(x0), start_of(x1), start_of(x2), start_of(x3)
            a = eight(block(wa, i), x0, x1, x2, x3, s0, s1, s2, s3, d, s, a)
            b = eight(block(wb, i), x0, x1, x2, x3, s0, s1, s2, s3, d, s, b)
        for i in range(whole, n):
            # The upper half of what is loaded belongs to the next block; its sums are left aside.
            xq = load(i8x64, x + 32 * i)
            start = start_of(xq)
            a = one(wa, i, xq, start, x_d + 4 * i, x_s + 4 * i, a)
            b = one(wb, i, xq, start, x_d + 4 * i, x_s + 4 * i, b)
        return a, b

    return two_rows


_FIRST8 = Lanes(tuple(range(8)))
_FOUR0, _FOUR1, _FOUR2, _FOUR3 = (Lanes(tuple(range(4 * i, 4 * i + 4))) for i in range(4))


def _block16(fmt):
    """Blocks of 64 elements with a scale a 16."""
    codes, block = formats.in_32s(fmt)
    scale, scales_of_four, offset = fmt.scale, fmt.scales_of_four, fmt.OFFSET
    dot = dot4_u7 if fmt.U7 else dot4

    def add(total, scale, d, acc):
        """Sixteen: their exact integer product, scaled. matmul does the same, in the same order."""
        return fma(f32(f32(hsum(total)) * scale), d, acc)

    def one(w, i, x, start, d, acc):
        p, t = block(w, i), dot(start, codes(w, i, i + 1), x)
        prefetch(p + AHEAD)
        d0, d1 = load(f32, d), load(f32, d + 4)
        acc = add(shuffle(_FOUR0, t, t), scale(p, 0, 0), d0, acc)
        acc = add(shuffle(_FOUR1, t, t), scale(p, 0, 1), d0, acc)
        acc = add(shuffle(_FOUR2, t, t), scale(p, 1, 0), d1, acc)
        return add(shuffle(_FOUR3, t, t), scale(p, 1, 1), d1, acc)

    def start_of(x):
        return splat(i32x16, 0) - dot(splat(i32x16, 0), splat(u8x64, offset), x)

    def four(p, x0, x1, x2, x3, s0, s1, s2, s3, d, acc):
        """Four blocks; the order of the additions is that of `one`."""
        prefetch(p + AHEAD)
        prefetch(p + AHEAD + 64)
        prefetch(p + AHEAD + 128)
        t0, t1 = dot(s0, codes(p, 0, 1), x0), dot(s1, codes(p, 2, 3), x1)
        t2, t3 = dot(s2, codes(p, 4, 5), x2), dot(s3, codes(p, 6, 7), x3)
        products = cast(f32x16, sums16(t0, t1, t2, t3)) * scales_of_four(p)
        for g in range(16):
            acc = fma(lane(products, g % 4 * 4 + g // 4), load(f32, d + g // 2 * 4), acc)
        return acc

    def two_rows(wa, wb, k, x, x_d, x_s):
        a, b = f32(0.0), f32(0.0)
        whole = k // 256 * 8
        for i in range(0, whole, 8):
            q, d = x + 32 * i, x_d + 4 * i
            x0, x1, x2, x3 = load(i8x64, q), load(i8x64, q + 64), load(i8x64, q + 128), load(i8x64, q + 192)
            s0, s1, s2, s3 = start_of(x0), start_of(x1), start_of(x2), start_of(x3)
            a = four(block(wa, i), x0, x1, x2, x3, s0, s1, s2, s3, d, a)
            b = four(block(wb, i), x0, x1, x2, x3, s0, s1, s2, s3, d, b)
        for i in range(whole, k // 32, 2):
            xq = load(i8x64, x + 32 * i)
            start = start_of(xq)
            a, b = one(wa, i, xq, start, x_d + 4 * i, a), one(wb, i, xq, start, x_d + 4 * i, b)
        return a, b

    return two_rows


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
    size, offset, has_min = fmt.BYTES, fmt.OFFSET, fmt.HAS_MIN
    dot = dot4_u7 if fmt.U7 else dot4
    times = scaled_wide if getattr(fmt, "WIDE", 0) else scaled

    def start_of(x):
        """What the codes' offset adds to a product, taken off beforehand."""
        if offset:
            return splat(i32x16, 0) - dot(splat(i32x16, 0), splat(u8x64, offset), x)
        return splat(i32x16, 0)

    def block(p, x0, x1, x2, x3, s0, s1, s2, s3, xd, sums, acc):
        """Add a super-block: four products of 64 codes, times their groups' scales in one more product.

        The integer result is exact; two float operations a super-block remain, which matmul does in the same order.
        """
        prefetch(p + AHEAD)
        prefetch(p + AHEAD + 64)
        sc = scales(p)
        t0, t1 = dot(s0, codes(p, 0), x0), dot(s1, codes(p, 1), x1)
        t2, t3 = dot(s2, codes(p, 2), x2), dot(s3, codes(p, 3), x3)
        acc = fma(f32(hsum(times(t0, t1, t2, t3, sc))), f32(d(p) * xd), acc)
        if has_min:
            m = dot2(splat(i32x8, 0), minimums(p), sums)
            acc = fma(f32(hsum(m)), f32(f32(-dmin(p)) * xd), acc)
        return acc

    def two_rows(wa, wb, k, x, x_d, x_s):
        a, b = f32(0.0), f32(0.0)
        for i in range(k // 256):
            q = x + 256 * i
            x0, x1, x2, x3 = load(i8x64, q), load(i8x64, q + 64), load(i8x64, q + 128), load(i8x64, q + 192)
            s0, s1, s2, s3 = start_of(x0), start_of(x1), start_of(x2), start_of(x3)
            xd, sums = load(f32, x_d + 4 * i), load(i16x16, x_s + 32 * i)
            a = block(wa + i * size, x0, x1, x2, x3, s0, s1, s2, s3, xd, sums, a)
            b = block(wb + i * size, x0, x1, x2, x3, s0, s1, s2, s3, xd, sums, b)
        return a, b

    return two_rows


_TWO_ROWS = {"float": _float, "block32": _block32, "super": _super}

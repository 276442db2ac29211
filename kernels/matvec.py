"""Matrix-vector products in place: what a token costs. Weights are read once, at the speed of memory.

A thread claims a few rows at a time; two rows run together, so that each load of the activations serves both. The integer
part of a product is exact, and floats are added in one order: 16 lanes along the row, then by halving.
"""

from . import formats
from .simd import (
    Lanes,
    Struct,
    bitcast,
    cast,
    dot2,
    dot4,
    dot4_u7,
    f32,
    f32x8,
    f32x16,
    fma,
    from_half,
    hsum,
    i8x64,
    i16x16,
    i32x8,
    i32x16,
    load,
    pack16,
    pair,
    prefetch,
    shuffle,
    splat,
    store,
    f32x2,
    u8x64,
)
from .thread import Step, claim

Params = Struct(
    "MatVec", ("w", "row_bytes", "n", "k", "x", "x_d", "x_s", "bias", "add", "out", "step", "chunk")
)
"""out[n] = w[n, k] @ x (+ bias) (+ add), f32. x: see quantize.rows, or f32 [k] for float formats. bias, add: f32 [n] or 0;
add may be out. out 0: the logits of the step block. chunk: rows claimed at a time, even."""

AHEAD = 2304
"""Bytes: how far before its use a weight is asked for. Worth 1.5 times the speed of leaving it to the processor."""


def rows(fmt: str):
    """The kernel for weights in this format."""
    format_ = formats.module(fmt)
    two_rows = _TWO_ROWS[format_.KIND](format_)

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
                a, b = two_rows(p.w + r * p.row_bytes, p.w + second * p.row_bytes, p.k, p.x, p.x_d, p.x_s)
                finish(p.bias, p.add, out, r, a)
                if second > r:
                    finish(p.bias, p.add, out, second, b)
            first = claim(thread, p.chunk)

    return kernel


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


_SPREAD = Lanes((0,) * 8 + (1,) * 8)


def _block32(fmt):
    codes, scale, minimum = fmt.codes, fmt.scale, fmt.minimum
    size, offset, has_min = fmt.BYTES, fmt.OFFSET, fmt.HAS_MIN
    dot = dot4_u7 if fmt.U7 else dot4

    def blocks(pa, pb, x, start, d, s, acc, low):
        """Add 64 elements; d, s: scale and scaled sum of the activations, a block each (0 for a block that is not there)."""
        prefetch(pa + AHEAD)
        t = dot(start, codes(pa, pb), x)
        both = pair(f32x2, scale(pa), scale(pb)) * d
        acc = fma(cast(f32x16, t), shuffle(_SPREAD, both, both), acc)
        if has_min:
            low = fma(pair(f32x2, minimum(pa), minimum(pb)), s, low)
        return acc, low

    def two_rows(wa, wb, k, x, x_d, x_s):
        acc_a, low_a = splat(f32x16, 0.0), splat(f32x2, 0.0)
        acc_b, low_b = acc_a, low_a
        start, none = splat(i32x16, 0), splat(f32x2, 0.0)
        n = k // 32
        for i in range(0, n - 1, 2):
            xq, d, s = load(i8x64, x + 32 * i), load(f32x2, x_d + 4 * i), load(f32x2, x_s + 4 * i)
            if offset:
                start = splat(i32x16, 0) - dot(splat(i32x16, 0), splat(u8x64, offset), xq)
            pa, pb = wa + i * size, wb + i * size
            acc_a, low_a = blocks(pa, pa + size, xq, start, d, s, acc_a, low_a)
            acc_b, low_b = blocks(pb, pb + size, xq, start, d, s, acc_b, low_b)
        if n % 2:
            i = n - 1
            xq, d, s = load(i8x64, x + 32 * i), pair(f32x2, load(f32, x_d + 4 * i), 0.0), pair(f32x2, load(f32, x_s + 4 * i), 0.0)
            if offset:
                start = splat(i32x16, 0) - dot(splat(i32x16, 0), splat(u8x64, offset), xq)
            acc_a, low_a = blocks(wa + i * size, wa + i * size, xq, start, d, s, acc_a, low_a)
            acc_b, low_b = blocks(wb + i * size, wb + i * size, xq, start, d, s, acc_b, low_b)
        return f32(hsum(acc_a) + hsum(low_a)), f32(hsum(acc_b) + hsum(low_b))

    return two_rows


# Lane 4i + j of a packed pair of runs holds group i of the first run (j < 4 of each 8) or of the second.
_PAIR01 = Lanes(tuple(g + 4 * run for g in range(4) for run in (0, 1) for _ in range(4)))
_PAIR23 = Lanes(tuple(8 + g + 4 * run for g in range(4) for run in (0, 1) for _ in range(4)))


def _super(fmt):
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, offset, has_min = fmt.BYTES, fmt.OFFSET, fmt.HAS_MIN
    dot = dot4_u7 if fmt.U7 else dot4

    def block(p, x0, x1, x2, x3, s0, s1, s2, s3, xd, sums, acc, low):
        """Add a super-block: four products of 64 codes, narrowed to 16 bits, times their groups' scales in one more product."""
        prefetch(p + AHEAD)
        prefetch(p + AHEAD + 64)
        sc = scales(p)
        t0, t1 = dot(s0, codes(p, 0), x0), dot(s1, codes(p, 1), x1)
        t2, t3 = dot(s2, codes(p, 2), x2), dot(s3, codes(p, 3), x3)
        t = dot2(splat(i32x16, 0), pack16(t0, t1), shuffle(_PAIR01, sc, sc))
        t = dot2(t, pack16(t2, t3), shuffle(_PAIR23, sc, sc))
        acc = fma(cast(f32x16, t), splat(f32x16, d(p) * xd), acc)
        if has_min:
            m = dot2(splat(i32x8, 0), minimums(p), sums)
            low = fma(cast(f32x8, m), splat(f32x8, dmin(p) * xd), low)
        return acc, low

    def two_rows(wa, wb, k, x, x_d, x_s):
        acc_a, low_a = splat(f32x16, 0.0), splat(f32x8, 0.0)
        acc_b, low_b = acc_a, low_a
        zero = splat(i32x16, 0)
        s0, s1, s2, s3 = zero, zero, zero, zero
        for i in range(k // 256):
            q = x + 256 * i
            x0, x1, x2, x3 = load(i8x64, q), load(i8x64, q + 64), load(i8x64, q + 128), load(i8x64, q + 192)
            if offset:
                o = splat(u8x64, offset)
                s0, s1, s2, s3 = zero - dot(zero, o, x0), zero - dot(zero, o, x1), zero - dot(zero, o, x2), zero - dot(zero, o, x3)
            xd, sums = load(f32, x_d + 4 * i), load(i16x16, x_s + 32 * i)
            acc_a, low_a = block(wa + i * size, x0, x1, x2, x3, s0, s1, s2, s3, xd, sums, acc_a, low_a)
            acc_b, low_b = block(wb + i * size, x0, x1, x2, x3, s0, s1, s2, s3, xd, sums, acc_b, low_b)
        return f32(hsum(acc_a) - hsum(low_a)), f32(hsum(acc_b) - hsum(low_b))

    return two_rows


_TWO_ROWS = {"float": _float, "block32": _block32, "super": _super}

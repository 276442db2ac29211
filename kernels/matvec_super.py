"""Four rows of super-blocks times a vector."""

from .formats import optional
from .lanes import EACH, FOUR_TIMES, dot_of, join4, over_quarters, quarters16, starter, sums8, sums16
from .simd import (
    Lanes,
    cast,
    dot2,
    f32,
    f32x4,
    f32x16,
    fma,
    i8x64,
    i16x16,
    i16x32,
    i32x8,
    i32x16,
    load,
    make4,
    pack16,
    prefetch,
    shuffle,
    splat,
    store,
)

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


def four_rows(fmt):
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, has_min = fmt.BYTES, fmt.HAS_MIN
    dot, start = dot_of(fmt), starter(fmt)
    times = scaled_wide if optional(fmt, "WIDE") else scaled

    def block(p, x0, x1, x2, x3, s0, s1, s2, s3):
        """A super-block: four products of 64 codes, times their groups' scales.

        The sum of the lanes is an exact integer; two float operations a super-block remain, which matmul does in the
        same order.
        """
        sc = scales(p)
        t0, t1 = dot(s0, codes(p, 0), x0), dot(s1, codes(p, 1), x1)
        t2, t3 = dot(s2, codes(p, 2), x2), dot(s3, codes(p, 3), x3)
        return times(t0, t1, t2, t3, sc)

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc = splat(f32x4, 0.0)
        for i in range(k // 256):
            q, at = x + 256 * i, i * size
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            x0, x1, x2, x3 = load(i8x64, q), load(i8x64, q + 64), load(i8x64, q + 128), load(i8x64, q + 192)
            s0, s1, s2, s3 = start(x0), start(x1), start(x2), start(x3)
            a = block(wa + at, x0, x1, x2, x3, s0, s1, s2, s3)
            b = block(wb + at, x0, x1, x2, x3, s0, s1, s2, s3)
            c = block(wc + at, x0, x1, x2, x3, s0, s1, s2, s3)
            e = block(wd + at, x0, x1, x2, x3, s0, s1, s2, s3)
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


_SUMS, _SCALE, _MINUS, _STARTS = 1024, 1152, 1168, 1216
_FIRST_LANE = EACH[0]
_LOWER_HALF = Lanes(tuple(range(32)))


def by_fours(fmt):
    """See matvec_fours. A record
    holds of 256 activations of four rows: codes, i8 [4][256]; sums of sixteens, i16 [4][16];
    scales, f32 [4]; and these times -1. Where sums of fours fit 16 bits, or what they are multiplied with, only after
    the codes' offset was taken off, also what each begins with, i32 [4][64].
    """
    started = fmt.MAX_CODE > 64
    record = _STARTS + 1024 if started else _STARTS
    dot, start = dot_of(fmt), starter(fmt)
    times = scaled_wide if optional(fmt, "WIDE") else scaled
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, has_min, offset = fmt.BYTES, fmt.HAS_MIN, fmt.OFFSET

    def n_bytes(k):
        return k // 256 * record

    def arrange(k, x, x_d, x_s, y, t):
        for i in range(k // 256):
            q, at = x + 256 * i, y + i * record
            for run in range(0, 256, 64):
                store(at + 256 * t + run, load(i8x64, q + run))
                if started:
                    store(at + _STARTS + 256 * t + run, start(load(i8x64, q + run)))
            store(at + _SUMS + 32 * t, load(i16x16, x_s + 32 * i))
            d = load(f32, x_d + 4 * i)
            store(at + _SCALE + 4 * t, d)
            store(at + _MINUS + 4 * t, f32(-d))

    def row(p, y):
        """A super-block of a row of weights: in each quarter lanes whose sums over the quarters are the products."""
        c0, c1, c2, c3, sc = codes(p, 0), codes(p, 1), codes(p, 2), codes(p, 3), scales(p)
        return quarters16(
            one(c0, c1, c2, c3, sc, y, y + _SUMS), one(c0, c1, c2, c3, sc, y + 256, y + _SUMS + 32),
            one(c0, c1, c2, c3, sc, y + 512, y + _SUMS + 64), one(c0, c1, c2, c3, sc, y + 768, y + _SUMS + 96),
        )  # fmt: skip

    def one(c0, c1, c2, c3, sc, y, s):
        s0, s1, s2, s3 = begins(y), begins(y + 64), begins(y + 128), begins(y + 192)
        t0, t1 = dot(s0, c0, load(i8x64, y)), dot(s1, c1, load(i8x64, y + 64))
        t2, t3 = dot(s2, c2, load(i8x64, y + 128)), dot(s3, c3, load(i8x64, y + 192))
        t = times(t0, t1, t2, t3, sc)
        if offset and not started:
            # The upper half of what is loaded belongs to the next row, or to none.
            off = sc * splat(i16x16, -offset)
            t = dot2(t, shuffle(_LOWER_HALF, off, splat(i16x16, 0)), load(i16x32, s))
        return t

    def begins(y):
        if started:
            return load(i32x16, y + _STARTS)
        return splat(i32x16, 0)

    def least(p, s):
        """Of a row of weights and four of activations: sums of minimums."""
        m, zero = minimums(p), splat(i32x8, 0)
        return sums8(
            dot2(zero, m, load(i16x16, s)), dot2(zero, m, load(i16x16, s + 32)),
            dot2(zero, m, load(i16x16, s + 64)), dot2(zero, m, load(i16x16, s + 96)),
        )  # fmt: skip

    def products(wa, wb, wc, wd, k, y, prefetch_at):
        acc = splat(f32x16, 0.0)
        for i in range(k // 256):
            at, x = i * size, y + i * record
            a, b, c, e = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            total = over_quarters(row(a, x), row(b, x), row(c, x), row(e, x))
            factors, xd = make4(f32x4, d(a), d(b), d(c), d(e)), load(f32x4, x + _SCALE)
            factors = shuffle(_FIRST_LANE, factors, factors) * shuffle(FOUR_TIMES, xd, xd)
            acc = fma(cast(f32x16, total), factors, acc)
            if has_min:
                s, minus = x + _SUMS, load(f32x4, x + _MINUS)
                m = join4(least(a, s), least(b, s), least(c, s), least(e, s))
                factors = make4(f32x4, dmin(a), dmin(b), dmin(c), dmin(e))
                factors = shuffle(_FIRST_LANE, factors, factors) * shuffle(FOUR_TIMES, minus, minus)
                acc = fma(cast(f32x16, m), factors, acc)
        return acc

    return n_bytes, arrange, products, 3

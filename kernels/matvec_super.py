"""Four rows of super-blocks times a vector."""

from .formats import optional
from .lanes import starter, sums8, sums16
from .simd import (
    Lanes,
    cast,
    dot2,
    dot4,
    dot4_u7,
    f32,
    f32x4,
    fma,
    i8x64,
    i16x16,
    i32x8,
    i32x16,
    load,
    make4,
    pack16,
    prefetch,
    shuffle,
    splat,
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
    dot, start = dot4_u7 if fmt.MAX_CODE < 128 else dot4, starter(fmt)
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

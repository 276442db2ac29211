"""Four rows of super-blocks times a vector, where no instruction multiplies and adds four bytes (AVX2).

There products of two bytes are added first, in 16 bits, and then pairs of these sums in 32. The second step multiplies
by the scales on its way: matvec_super and matvec_k, which first add four bytes with factors of 1, take a step more. The
sums are the same integers.

A target with 16 registers of 256 bits has eight of them filled with 256 activations. So each row reads these at an
address of its own (`apart`), which the compiler cannot know to be the same: it leaves them in memory, as operands.
"""

from .formats import SIGNED, optional
from .formats.bits import join16, k_factors, k_numbers
from .lanes import LOWER8, UPPER8, sums8
from .simd import (
    Lanes,
    bitcast,
    cast,
    dot2,
    dot2_s8,
    dot2_u7,
    f32,
    f32x4,
    fma,
    i8x64,
    i16x16,
    i16x32,
    i32x8,
    i32x16,
    load,
    make4,
    pick16,
    prefetch,
    shuffle,
    splat,
    u8x64,
)

# Numbers of eight groups of 16 elements stand in each quarter, in 16 bits: of a run of 64 elements, each quarter's.
_EVEN, _ODD = (
    Lanes(tuple(2 * (first + q) + b for q in range(4) for _ in range(8) for b in (0, 1))) for first in (0, 4)
)
_FIRST8, _LAST8 = Lanes(tuple(range(8)) * 4), Lanes(tuple(range(8, 16)) * 4)
# Numbers of 8 bits, scales and then minimums of groups of 32, stand in each quarter.
_K0, _K1, _K2, _K3 = (
    Lanes(tuple(v for q in range(4) for _ in range(8) for v in (2 * run + q // 2, 128))) for run in range(4)
)
_ROW_A, _ROW_B, _ROW_C, _ROW_D = (Lanes(tuple(range(16 * r, 16 * r + 16)) * 4) for r in range(4))
_MIN_A, _MIN_B, _MIN_C, _MIN_D = (
    Lanes(tuple(v for i in range(16) for v in (16 * r + 8 + i // 2, 64))) for r in range(4)
)
_D, _DMIN = Lanes((0, 1, 2, 3)), Lanes((4, 5, 6, 7))


def four_rows(fmt):
    """See matvec; fmt.codes are at most 127, or signed."""
    return _k_numbers(fmt) if optional(fmt, "quarters") else _own_numbers(fmt)


def apart(k, x):
    """Four times x: k, a multiple of 256, has none of these bits."""
    return x, x + (k & 1), x + (k & 2), x + (k & 4)


def _row(fmt):
    """row(p, q, s0, s1, s2, s3): a super-block's codes times 256 activations at q and scales of 64 elements each, as
    bytes of 16-bit numbers: i32x8, whose lanes sum up to the product."""
    codes, pairs = fmt.codes, dot2_s8 if fmt.MAX_CODE == SIGNED else dot2_u7

    def row(p, q, s0, s1, s2, s3):
        t = dot2(splat(i32x16, 0), pairs(codes(p, 0), load(i8x64, q)), bitcast(i16x32, s0))
        t = dot2(t, pairs(codes(p, 1), load(i8x64, q + 64)), bitcast(i16x32, s1))
        t = dot2(t, pairs(codes(p, 2), load(i8x64, q + 128)), bitcast(i16x32, s2))
        t = dot2(t, pairs(codes(p, 3), load(i8x64, q + 192)), bitcast(i16x32, s3))
        return shuffle(LOWER8, t, t) + shuffle(UPPER8, t, t)

    return row


def _own_numbers(fmt):
    scales, minimums, d, dmin, row = fmt.scales, fmt.minimums, fmt.d, fmt.dmin, _row(fmt)
    size, has_min, offset = fmt.BYTES, fmt.HAS_MIN, fmt.OFFSET

    def block(p, q, sums, nought):
        """nought: zeros that the compiler does not know. It would join the copy and each pick to one shuffle across
        quarters, which takes two or three instructions."""
        sc = scales(p)
        first = bitcast(u8x64, shuffle(_FIRST8, sc, sc) ^ nought)
        last = bitcast(u8x64, shuffle(_LAST8, sc, sc) ^ nought)
        t = row(p, q, pick16(_EVEN, first), pick16(_ODD, first), pick16(_EVEN, last), pick16(_ODD, last))
        if offset:
            t = dot2(t, sc * splat(i16x16, -offset), sums)
        return t

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc = splat(f32x4, 0.0)
        xa, xb, xc, xe = apart(k, x)
        nought = splat(i16x32, k & 8)
        for i in range(k // 256):
            q, at = 256 * i, i * size
            a, b, c, e = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            sums = load(i16x16, x_s + 32 * i)
            total = sums8(
                block(a, xa + q, sums, nought), block(b, xb + q, sums, nought),
                block(c, xc + q, sums, nought), block(e, xe + q, sums, nought),
            )  # fmt: skip
            xd = load(f32, x_d + 4 * i)
            factors = make4(f32x4, d(a), d(b), d(c), d(e)) * xd
            acc = fma(cast(f32x4, total), factors, acc)
            if has_min:
                zero = splat(i32x8, 0)
                m = sums8(
                    dot2(zero, minimums(a), sums), dot2(zero, minimums(b), sums),
                    dot2(zero, minimums(c), sums), dot2(zero, minimums(e), sums),
                )  # fmt: skip
                factors = make4(f32x4, dmin(a), dmin(b), dmin(c), dmin(e)) * f32(-xd)
                acc = fma(cast(f32x4, m), factors, acc)
        return acc

    return products


def _k_numbers(fmt):
    """Q4_K and Q5_K: the numbers of four rows are decoded together, as in matvec_k."""
    row, size = _row(fmt), fmt.BYTES

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc = splat(f32x4, 0.0)
        xa, xb, xc, xe = apart(k, x)
        for i in range(k // 256):
            q, at = 256 * i, i * size
            a, b, c, e = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            heads = join16(a, b, c, e)
            n = k_numbers(heads)
            total = sums8(
                scaled(a, xa + q, shuffle(_ROW_A, n, n)), scaled(b, xb + q, shuffle(_ROW_B, n, n)),
                scaled(c, xc + q, shuffle(_ROW_C, n, n)), scaled(e, xe + q, shuffle(_ROW_D, n, n)),
            )  # fmt: skip
            factors, xd, sums = k_factors(heads), load(f32, x_d + 4 * i), load(i16x16, x_s + 32 * i)
            acc = fma(cast(f32x4, total), shuffle(_D, factors, factors) * xd, acc)
            m = sums8(least(_MIN_A, n, sums), least(_MIN_B, n, sums), least(_MIN_C, n, sums), least(_MIN_D, n, sums))
            acc = fma(cast(f32x4, m), shuffle(_DMIN, factors, factors) * f32(-xd), acc)
        return acc

    def scaled(p, q, n):
        return row(p, q, pick16(_K0, n), pick16(_K1, n), pick16(_K2, n), pick16(_K3, n))

    def least(lanes, n, sums):
        return dot2(splat(i32x8, 0), bitcast(i16x16, shuffle(lanes, n, splat(u8x64, 0))), sums)

    return products

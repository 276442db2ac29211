"""Four rows of super-blocks times a vector, where a lane of 32 bits is a factor as it stands (ARM).

Sums of four products are multiplied by their group's scale in 32 bits: matvec_super and matvec_k first bring them into
16 bits, and scales beside them. The sums are the same integers.

A target with 32 registers of 128 bits has half of them filled with 256 activations. So each row reads these at an
address of its own: see matvec_pairs.
"""

from .formats import optional
from .formats.bits import join16, k_factors, k_numbers
from .lanes import EACH, QUARTERS, dot_of, sums8_by_pairs, sums16_by_pairs
from .matvec_k import in_quarters, sums32
from .matvec_pairs import apart
from .simd import (
    Lanes,
    bitcast,
    cast,
    dot2,
    dot4_u7,
    f32,
    f32x4,
    fma,
    i8x64,
    i16x16,
    i16x32,
    i32x4,
    i32x8,
    i32x16,
    load,
    make4,
    prefetch,
    shuffle,
    splat,
    u8x64,
)

_FOUR0, _FOUR1, _FOUR2, _FOUR3 = QUARTERS
_EACH = EACH[0]
# Of Q4_K and Q5_K: the scales of each row, and what multiplies quarter j of the products: group 2j, or 2j + 1.
_ROW_A, _ROW_B, _ROW_C, _ROW_D = (Lanes(tuple(range(16 * r, 16 * r + 8))) for r in range(4))
_OF_EVEN, _OF_ODD = (Lanes(tuple(2 * (i // 4) + odd for i in range(16))) for odd in (0, 1))
_MINIMUMS = Lanes(tuple(v for r in range(4) for g in range(8) for v in (16 * r + 8 + g, 64)))
_TO_ALL = Lanes(tuple(range(8)) * 4)
_D, _DMIN = Lanes((0, 1, 2, 3)), Lanes((4, 5, 6, 7))
# Neighbours of 16 lanes, and of 8.
_EVEN16, _ODD16 = (Lanes(tuple(range(odd, 16, 2))) for odd in (0, 1))
_EVEN8, _ODD8 = (Lanes(tuple(range(odd, 8, 2))) for odd in (0, 1))


def four_rows(fmt):
    """See matvec; fmt.OFFSET is 0: see formats.for_products."""
    return _k_numbers(fmt) if optional(fmt, "quarters") else _own_numbers(fmt)


def _own_numbers(fmt):
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, has_min, dot = fmt.BYTES, fmt.HAS_MIN, dot_of(fmt)

    def block(p, q, nought):
        """A super-block: lanes whose sum is the product. nought: zeros that the compiler does not know. It would spread
        scales of 16 bits, and widen each of the results."""
        sc, zero = scales(p), splat(i32x16, 0)
        s0 = cast(i32x4, shuffle(_FOUR0, sc, sc)) ^ nought
        s1 = cast(i32x4, shuffle(_FOUR1, sc, sc)) ^ nought
        s2 = cast(i32x4, shuffle(_FOUR2, sc, sc)) ^ nought
        s3 = cast(i32x4, shuffle(_FOUR3, sc, sc)) ^ nought
        t = dot(zero, codes(p, 0), load(i8x64, q)) * shuffle(_EACH, s0, s0)
        t = t + dot(zero, codes(p, 1), load(i8x64, q + 64)) * shuffle(_EACH, s1, s1)
        t = t + dot(zero, codes(p, 2), load(i8x64, q + 128)) * shuffle(_EACH, s2, s2)
        return t + dot(zero, codes(p, 3), load(i8x64, q + 192)) * shuffle(_EACH, s3, s3)

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc, nought = splat(f32x4, 0.0), splat(i32x4, k & 8)
        xa, xb, xc, xe = apart(k, x)
        for i in range(k // 256):
            q, at = 256 * i, i * size
            a, b, c, e = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            total = sums16_by_pairs(
                block(a, xa + q, nought), block(b, xb + q, nought), block(c, xc + q, nought), block(e, xe + q, nought)
            )
            xd = load(f32, x_d + 4 * i)
            factors = make4(f32x4, d(a), d(b), d(c), d(e)) * xd
            acc = fma(cast(f32x4, total), factors, acc)
            if has_min:
                sums, zero = load(i16x16, x_s + 32 * i), splat(i32x8, 0)
                m = sums8_by_pairs(
                    dot2(zero, minimums(a), sums), dot2(zero, minimums(b), sums),
                    dot2(zero, minimums(c), sums), dot2(zero, minimums(e), sums),
                )  # fmt: skip
                factors = make4(f32x4, dmin(a), dmin(b), dmin(c), dmin(e)) * f32(-xd)
                acc = fma(cast(f32x4, m), factors, acc)
        return acc

    return products


def _k_numbers(fmt):
    """Q4_K and Q5_K: the numbers of four rows are decoded together, as in matvec_k."""
    quarters, size = fmt.quarters, fmt.BYTES

    def block(p, q, scales):
        a0, a1, b0, b1 = quarters(p)
        x0, x1, x2, x3 = in_quarters(q)
        zero, wide = splat(i32x16, 0), cast(i32x8, scales)
        even = dot4_u7(dot4_u7(zero, a0, x0), a1, x1)
        odd = dot4_u7(dot4_u7(zero, b0, x2), b1, x3)
        return even * shuffle(_OF_EVEN, wide, wide) + odd * shuffle(_OF_ODD, wide, wide)

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc, zero = splat(f32x4, 0.0), splat(u8x64, 0)
        xa, xb, xc, xe = apart(k, x)
        for i in range(k // 256):
            q, at = 256 * i, i * size
            a, b, c, e = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            heads = join16(a, b, c, e)
            n = k_numbers(heads)
            total = sums16_by_pairs(
                block(a, xa + q, shuffle(_ROW_A, n, n)), block(b, xb + q, shuffle(_ROW_B, n, n)),
                block(c, xc + q, shuffle(_ROW_C, n, n)), block(e, xe + q, shuffle(_ROW_D, n, n)),
            )  # fmt: skip
            factors, xd = k_factors(heads), load(f32, x_d + 4 * i)
            acc = fma(cast(f32x4, total), shuffle(_D, factors, factors) * xd, acc)
            s = sums32(x_s + 32 * i)
            m = dot2(splat(i32x16, 0), bitcast(i16x32, shuffle(_MINIMUMS, n, zero)), shuffle(_TO_ALL, s, s))
            m = shuffle(_EVEN16, m, m) + shuffle(_ODD16, m, m)
            m = shuffle(_EVEN8, m, m) + shuffle(_ODD8, m, m)
            acc = fma(cast(f32x4, m), shuffle(_DMIN, factors, factors) * f32(-xd), acc)
        return acc

    return products

"""Four rows of Q4_K or Q5_K times a vector.

Both have 8 groups of 32, and in the first 16 bytes of a super-block all its scales. Those bytes of the four rows share
a vector, a quarter of 128 bits each, and are decoded together. Codes come in an order in which quarter j of a vector
belongs to group 2j, or 2j + 1: products of a group are added up, still within 16 bits, before they are scaled.
"""

from .formats.bits import join16, k_factors, k_numbers
from .lanes import EACH, EVEN16, FOUR_TIMES, ODD16, over_quarters, quarters16, sums16
from .simd import (
    Lanes,
    bitcast,
    cast,
    dot2,
    dot4_u7,
    f32,
    f32x4,
    f32x16,
    fma,
    i8x64,
    i16x8,
    i16x16,
    i16x32,
    i32x8,
    i32x16,
    load,
    pack16,
    prefetch,
    shuffle,
    splat,
    store,
    u8x64,
)

# Pieces of 16 bytes of two vectors: what each quarter of a result is.
_FIRST_HALVES = Lanes((*range(32), *range(64, 96)))
_LAST_HALVES = Lanes((*range(32, 64), *range(96, 128)))
# Of row r's numbers: scale 2j four times, then scale 2j + 1, in quarter j; as 16 bits, the 64th byte being 0.
_SCALES = tuple(
    Lanes(tuple(v for q in range(4) for g in (0, 1) for _ in range(4) for v in (16 * r + 2 * q + g, 64)))
    for r in range(4)
)
_SCALES0, _SCALES1, _SCALES2, _SCALES3 = _SCALES
_MINIMUMS = Lanes(tuple(v for r in range(4) for g in range(8) for v in (16 * r + 8 + g, 64)))
_TO_ALL = Lanes(tuple(range(8)) * 4)
# A quarter's four lanes: the upper two beside the lower, then the first two of each quarter.
_SWAPPED = Lanes(tuple(i ^ 2 for i in range(16)))
_FIRST, _SECOND = Lanes((0, 4, 8, 12)), Lanes((1, 5, 9, 13))
_D, _DMIN = Lanes((0, 1, 2, 3)), Lanes((4, 5, 6, 7))

_D_EACH, _DMIN_EACH = EACH[0], EACH[1]


def in_quarters(q):
    """Sixteens of 256 activations in the order of the codes."""
    y0, y1, y2, y3 = load(i8x64, q), load(i8x64, q + 64), load(i8x64, q + 128), load(i8x64, q + 192)
    y01, y23 = shuffle(_FIRST_HALVES, y0, y1), shuffle(_FIRST_HALVES, y2, y3)
    z01, z23 = shuffle(_LAST_HALVES, y0, y1), shuffle(_LAST_HALVES, y2, y3)
    return shuffle(EVEN16, y01, y23), shuffle(ODD16, y01, y23), shuffle(EVEN16, z01, z23), shuffle(ODD16, z01, z23)


def sums32(s):
    """Sums of eight groups, from those of sixteens."""
    return cast(i16x8, dot2(splat(i32x8, 0), load(i16x16, s), splat(i16x16, 1)))


def arrange(k, x, x_s, y):
    """See matvec.arrangement: behind the activations stand sums of groups, i16 [k // 32]."""
    for i in range(k // 256):
        at = y + 256 * i
        x0, x1, x2, x3 = in_quarters(x + 256 * i)
        store(at, x0)
        store(at + 64, x1)
        store(at + 128, x2)
        store(at + 192, x3)
        store(y + k + 16 * i, sums32(x_s + 32 * i))


def arrangement(fmt):
    return arrange


def _as_arranged(q):
    return load(i8x64, q), load(i8x64, q + 64), load(i8x64, q + 128), load(i8x64, q + 192)


def _sums_as_arranged(s):
    return load(i16x8, s)


def four_rows(fmt, is_arranged=False):
    """See matvec. fmt.quarters(p): the codes as four u8x64; the first two are of groups 2j, the last two of 2j + 1.
    is_arranged: the activations are as `arrange` puts them."""
    quarters, size = fmt.quarters, fmt.BYTES
    activations, sums_of, sums_bytes = (
        (_as_arranged, _sums_as_arranged, 16) if is_arranged else (in_quarters, sums32, 32)
    )

    def sums(p, x0, x1, x2, x3, scales):
        """A super-block of a row: its lanes sum up to the product."""
        a0, a1, b0, b1 = quarters(p)
        zero = splat(i32x16, 0)
        even = dot4_u7(dot4_u7(zero, a0, x0), a1, x1)
        odd = dot4_u7(dot4_u7(zero, b0, x2), b1, x3)
        return dot2(zero, pack16(even, odd), bitcast(i16x32, scales))

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc, zero = splat(f32x4, 0.0), splat(u8x64, 0)
        for i in range(k // 256):
            q, at = x + 256 * i, i * size
            a, b, c, d = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            x0, x1, x2, x3 = activations(q)
            heads = join16(a, b, c, d)
            n = k_numbers(heads)
            total = sums16(
                sums(a, x0, x1, x2, x3, shuffle(_SCALES0, n, zero)),
                sums(b, x0, x1, x2, x3, shuffle(_SCALES1, n, zero)),
                sums(c, x0, x1, x2, x3, shuffle(_SCALES2, n, zero)),
                sums(d, x0, x1, x2, x3, shuffle(_SCALES3, n, zero)),
            )
            factors, xd = k_factors(heads), load(f32, x_d + 4 * i)
            acc = fma(cast(f32x4, total), shuffle(_D, factors, factors) * xd, acc)
            s = sums_of(x_s + sums_bytes * i)
            m = dot2(splat(i32x16, 0), bitcast(i16x32, shuffle(_MINIMUMS, n, zero)), shuffle(_TO_ALL, s, s))
            m = m + shuffle(_SWAPPED, m, m)
            m = shuffle(_FIRST, m, m) + shuffle(_SECOND, m, m)
            acc = fma(cast(f32x4, m), shuffle(_DMIN, factors, factors) * f32(-xd), acc)
        return acc

    return products


_SUMS, _SCALE, _MINUS = 1024, 1088, 1104
_RECORD = 1152


def by_fours(fmt):
    """See matvec_fours. A record
    holds of 256 activations of four rows: codes as in_quarters gives them, i8 [4][256]; sums of
    groups, i16 [4][8]; scales, f32 [4]; and these times -1."""
    quarters, size = fmt.quarters, fmt.BYTES

    def n_bytes(k):
        return k // 256 * _RECORD

    def arrange(k, x, x_d, x_s, y, t):
        for i in range(k // 256):
            at = y + i * _RECORD
            x0, x1, x2, x3 = in_quarters(x + 256 * i)
            codes = at + 256 * t
            store(codes, x0)
            store(codes + 64, x1)
            store(codes + 128, x2)
            store(codes + 192, x3)
            store(at + _SUMS + 16 * t, sums32(x_s + 32 * i))
            d = load(f32, x_d + 4 * i)
            store(at + _SCALE + 4 * t, d)
            store(at + _MINUS + 4 * t, f32(-d))

    def row(p, y, scales):
        """A super-block of a row of weights: in each quarter lanes whose sums over the quarters are the products."""
        a0, a1, b0, b1 = quarters(p)
        scales = bitcast(i16x32, scales)
        return quarters16(
            one(a0, a1, b0, b1, y, scales), one(a0, a1, b0, b1, y + 256, scales),
            one(a0, a1, b0, b1, y + 512, scales), one(a0, a1, b0, b1, y + 768, scales),
        )  # fmt: skip

    def one(a0, a1, b0, b1, y, scales):
        zero = splat(i32x16, 0)
        even = dot4_u7(dot4_u7(zero, a0, load(i8x64, y)), a1, load(i8x64, y + 64))
        odd = dot4_u7(dot4_u7(zero, b0, load(i8x64, y + 128)), b1, load(i8x64, y + 192))
        return dot2(zero, pack16(even, odd), scales)

    def least(minimums, s):
        s = load(i16x8, s)
        return dot2(splat(i32x16, 0), minimums, shuffle(_TO_ALL, s, s))

    def products(wa, wb, wc, wd, k, y, prefetch_at):
        acc, zero = splat(f32x16, 0.0), splat(u8x64, 0)
        for i in range(k // 256):
            at, x = i * size, y + i * _RECORD
            a, b, c, d = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            heads = join16(a, b, c, d)
            n, factors = k_numbers(heads), k_factors(heads)
            total = over_quarters(
                row(a, x, shuffle(_SCALES0, n, zero)), row(b, x, shuffle(_SCALES1, n, zero)),
                row(c, x, shuffle(_SCALES2, n, zero)), row(d, x, shuffle(_SCALES3, n, zero)),
            )  # fmt: skip
            xd, minus = load(f32x4, x + _SCALE), load(f32x4, x + _MINUS)
            factor = shuffle(_D_EACH, factors, factors) * shuffle(FOUR_TIMES, xd, xd)
            acc = fma(cast(f32x16, total), factor, acc)
            minimums, s = bitcast(i16x32, shuffle(_MINIMUMS, n, zero)), x + _SUMS
            m = quarters16(
                least(minimums, s), least(minimums, s + 16), least(minimums, s + 32), least(minimums, s + 48)
            )
            factor = shuffle(_DMIN_EACH, factors, factors) * shuffle(FOUR_TIMES, minus, minus)
            acc = fma(cast(f32x16, m), factor, acc)
        return acc

    return n_bytes, arrange, products, 2

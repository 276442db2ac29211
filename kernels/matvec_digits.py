"""Four rows of super-blocks of digits in base 3 times a vector, two super-blocks at a time.

All bytes of a part have their digits one after another: 32 bytes with five digits, 16 with five, and 4 with four. In
this order elements follow each other, so that no digit is moved. What fills a vector: the first part of two
super-blocks, the second one of two rows of them, the last one of all four rows.
"""

from .lanes import LOWER4, LOWER8, UPPER4, UPPER8, pairs16
from .matvec_pairs import apart
from .simd import (
    Lanes,
    bitcast,
    cast,
    dot2,
    dot2_u7,
    dot4_u7,
    f32,
    f32x4,
    f32x8,
    fma,
    from_half,
    i8x16,
    i8x32,
    i8x64,
    i16x16,
    i16x32,
    i32x4,
    i32x8,
    i32x16,
    load,
    make8,
    prefetch,
    shuffle,
    splat,
    u8x16,
    u8x32,
    u16,
    u16x8,
    u16x32,
    u32,
    u32x8,
)
from .simd.targets import current

_JOIN4, _JOIN16, _JOIN32 = (Lanes(tuple(range(2 * n))) for n in (4, 16, 32))
_TWICE16 = Lanes((*range(16), *range(16), *range(16, 32), *range(16, 32)))
_EACH_TWICE = Lanes((0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7))
# Quarters 0 and 2 of two vectors in turn, and 1 and 3.
_EVEN_QUARTERS = Lanes((0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27))
_ODD_QUARTERS = Lanes((4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
# Sums of both super-blocks (0, 1) of four rows stand in the order a0 c0 a1 c1 b0 d0 b1 d1, before in pairs of lanes.
_EVEN_SUMS = Lanes((0, 2, 8, 10, 4, 6, 12, 14))
_ODD_SUMS = Lanes((1, 3, 9, 11, 5, 7, 13, 15))
_FIRST, _SECOND = Lanes((0, 4, 1, 5)), Lanes((2, 6, 3, 7))
# Of four activations for each of four digits, in two super-blocks: those of two digits in the order of the sums.
_DIGITS02, _DIGITS13 = (
    Lanes(tuple(4 * s + n for n in (first, first + 2) for s in (0, 0, 1, 1, 0, 0, 1, 1))) for first in (0, 1)
)


def four_rows(fmt):
    """See matvec. fmt: `five_digits(v, nine)` and `two_digits(v, nine)` give the first digits of bytes, nine being that
    number in each 16 bits; SHORT, LAST and D are where the 16 bytes, the four and the scale stand."""
    five_digits, two_digits, size = fmt.five_digits, fmt.two_digits, fmt.BYTES
    short, last, d_at = fmt.SHORT, fmt.LAST, fmt.D
    sums, dot, with_dots = _sums()

    def of_32(p, after, x, y, nine):
        """160 elements of two super-blocks of a row, a half each."""
        d0, d1, d2, d3, d4 = five_digits(shuffle(_JOIN32, load(u8x32, p), load(u8x32, p + after)), nine)
        acc = dot(dot(splat(sums, 0), d0, halves(x, y)), d1, halves(x + 32, y + 32))
        acc = dot(dot(acc, d2, halves(x + 64, y + 64)), d3, halves(x + 96, y + 96))
        return bitcast(i32x16, dot(acc, d4, halves(x + 128, y + 128)))

    def halves(x, y):
        return shuffle(_JOIN32, load(i8x32, x), load(i8x32, y))

    def of_16(a, b, after, x, y, nine):
        """80 elements of two rows: quarters are a row's of a super-block."""
        v = shuffle(_JOIN16, load(u8x16, a), load(u8x16, b))
        w = shuffle(_JOIN16, load(u8x16, a + after), load(u8x16, b + after))
        d0, d1, d2, d3, d4 = five_digits(shuffle(_JOIN32, v, w), nine)
        acc = dot(dot(splat(sums, 0), d0, quarters(x, y)), d1, quarters(x + 16, y + 16))
        acc = dot(dot(acc, d2, quarters(x + 32, y + 32)), d3, quarters(x + 48, y + 48))
        return dot(acc, d4, quarters(x + 64, y + 64))

    def quarters(x, y):
        both = shuffle(_JOIN16, load(i8x16, x), load(i8x16, y))
        return shuffle(_TWICE16, both, both)

    def of_4(a, b, c, e, after, x, y, nine):
        """16 elements of four rows: i32x8, in the order of their sums."""
        v = make8(
            u32x8, load(u32, a), load(u32, c), load(u32, a + after), load(u32, c + after),
            load(u32, b), load(u32, e), load(u32, b + after), load(u32, e + after),
        )  # fmt: skip
        v = bitcast(u8x32, v)
        d0, d1 = two_digits(shuffle(_JOIN32, v, v * 9), nine)
        low, high = load(i32x4, x), load(i32x4, y)
        acc = dot(splat(sums, 0), d0, bitcast(i8x64, shuffle(_DIGITS02, low, high)))
        acc = dot(acc, d1, bitcast(i8x64, shuffle(_DIGITS13, low, high)))
        t = with_dots(splat(i32x16, 0), acc)
        return shuffle(LOWER8, t, t) + shuffle(UPPER8, t, t)

    def two_rows(begin, a, b, after, xa, xb, n, nine):
        """begin plus 240 elements of two rows, in quarters. The next super-block is so many bytes on: after, n."""
        ta, tb = of_32(a, after, xa, xa + n, nine), of_32(b, after, xb, xb + n, nine)
        t = bitcast(sums, shuffle(_EVEN_QUARTERS, ta, tb)) + bitcast(sums, shuffle(_ODD_QUARTERS, ta, tb))
        return with_dots(begin, t + of_16(a + short, b + short, after, xa + 160, xa + n + 160, nine))

    def minus(s):
        """What the digits' offset of 1 takes off a super-block: i32x4."""
        t = dot2(splat(i32x8, 0), load(i16x16, s), splat(i16x16, -1))
        return shuffle(LOWER4, t, t) + shuffle(UPPER4, t, t)

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        """nine: a number that the compiler does not know, since it would shift and add in place of a multiplication."""
        acc, n_blocks, nine = splat(f32x4, 0.0), k // 256, splat(u16x32, 9 + (k & 8))
        xa, xb, xc, xe = apart(k, x)
        for i in range(0, n_blocks, 2):
            # Where one super-block is left it is taken twice.
            is_two = min(i + 1, n_blocks - 1) - i
            after, n, q, at = size * is_two, 256 * is_two, 256 * i, i * size
            a, b, c, e = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 8 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            begin = shuffle(_JOIN4, minus(x_s + 32 * i), minus(x_s + 32 * (i + is_two)))
            begin = shuffle(_EACH_TWICE, begin, begin)
            ab = two_rows(begin, a, b, after, xa + q, xb + q, n, nine)
            t = pairs16(ab, two_rows(begin, c, e, after, xc + q, xe + q, n, nine))
            t = shuffle(_EVEN_SUMS, t, t) + shuffle(_ODD_SUMS, t, t)
            y = xa + q + 240
            t = cast(f32x8, t + of_4(a + last, b + last, c + last, e + last, after, y, y + n, nine))
            d = factors(a + d_at, b + d_at, c + d_at, e + d_at, after)
            acc = fma(shuffle(_FIRST, t, t), shuffle(_FIRST, d, d) * load(f32, x_d + 4 * i), acc)
            if is_two == 1:
                acc = fma(shuffle(_SECOND, t, t), shuffle(_SECOND, d, d) * load(f32, x_d + 4 * i + 4), acc)
        return acc

    return products


def factors(a, b, c, e, after):
    """Scales of four rows, binary16, in the order of the sums: f32x8."""
    bits = make8(
        u16x8, load(u16, a), load(u16, c), load(u16, a + after), load(u16, c + after),
        load(u16, b), load(u16, e), load(u16, b + after), load(u16, e + after),
    )  # fmt: skip
    return from_half(bits)


def _sums():
    """The type of sums of products; dot(acc, codes, x): acc plus products of codes with activations; with_dots(begin,
    acc): begin plus acc, i32x16. By pairs they are added in 16 bits, which hold those of 64 codes up to 2."""
    if current().adds_pairs:

        def dot(acc, codes, x):
            return acc + dot2_u7(codes, x)

        def with_dots(begin, acc):
            return dot2(begin, acc, splat(i16x32, 1))

        return i16x32, dot, with_dots

    def plus(begin, acc):
        return begin + acc

    return i32x16, dot4_u7, plus

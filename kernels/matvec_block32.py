"""Four rows of blocks with float scales times a vector."""

from . import formats, matvec_nibbles, matvec_sixteens
from .lanes import EVEN128, LOWER4, ODD128, UPPER4, quarters16, starter
from .simd import (
    cast,
    dot4,
    dot4_u7,
    f32,
    f32x4,
    f32x8,
    fma,
    from_half,
    i8x64,
    load,
    make8,
    prefetch,
    shuffle,
    splat,
    u16,
    u16x8,
)


def four_rows(fmt):
    if formats.optional(fmt, "SCALES") > 1:
        return matvec_sixteens.four_rows(fmt)
    codes, block = formats.in_32s(fmt)
    taken = 8 * fmt.BYTES // formats.optional(fmt, "PER")
    has_min, dot, start = fmt.HAS_MIN, dot4_u7 if fmt.MAX_CODE < 128 else dot4, starter(fmt)
    scales = _of_eight(fmt.scale, formats.optional(fmt, "SCALE_AT"), block)
    minimums = _of_eight(fmt.minimum, formats.optional(fmt, "MINIMUM_AT"), block)

    def pair(wa, wb, wc, wd, i, j, prefetch_at, x, d, s, acc):
        """Add 32s number i and j of each row, or the first alone where they are one: exact integer products, scaled.

        matmul does the same, in the same order.
        """
        at = prefetch_at + 4 * block(0, i)
        for line in range(0, taken, 64):
            prefetch(at + line)
        zero = start(x)
        ta, tb = dot(zero, codes(wa, i, j), x), dot(zero, codes(wb, i, j), x)
        tc, td = dot(zero, codes(wc, i, j), x), dot(zero, codes(wd, i, j), x)
        v = quarters16(ta, tb, tc, td)
        totals = cast(f32x8, shuffle(EVEN128, v, v) + shuffle(ODD128, v, v)) * scales(wa, wb, wc, wd, i, j)
        m = totals
        acc = fma(shuffle(LOWER4, totals, totals), splat(f32x4, load(f32, d)), acc)
        if has_min:
            m = minimums(wa, wb, wc, wd, i, j)
            acc = fma(shuffle(LOWER4, m, m), splat(f32x4, load(f32, s)), acc)
        if i != j:
            acc = fma(shuffle(UPPER4, totals, totals), splat(f32x4, load(f32, d + 4)), acc)
            if has_min:
                acc = fma(shuffle(UPPER4, m, m), splat(f32x4, load(f32, s + 4)), acc)
        return acc

    def rest(wa, wb, wc, wd, first, n, x, x_d, x_s, prefetch_at, acc):
        """32s from number `first` on."""
        for i in range(first, n - 1, 2):
            acc = pair(wa, wb, wc, wd, i, i + 1, prefetch_at, load(i8x64, x + 32 * i), x_d + 4 * i, x_s + 4 * i, acc)
        if (n - first) % 2 == 1:
            # The upper half of what is loaded of x lies past the row; its sums are not used.
            i = n - 1
            acc = pair(wa, wb, wc, wd, i, i, prefetch_at, load(i8x64, x + 32 * i), x_d + 4 * i, x_s + 4 * i, acc)
        return acc

    if formats.optional(fmt, "halves"):
        return _in_fours(fmt, rest)

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        return rest(wa, wb, wc, wd, 0, k // 32, x, x_d, x_s, prefetch_at, splat(f32x4, 0.0))

    return products


def _in_fours(fmt, rest):
    """Four blocks at a time, then the rest."""
    four, size = matvec_nibbles.step(fmt), fmt.BYTES

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc, n = splat(f32x4, 0.0), k // 32
        whole = n // 4 * 4
        for i in range(0, whole, 4):
            at, e = i * size, 4 * i
            to = prefetch_at + 4 * at
            acc = four(wa + at, wb + at, wc + at, wd + at, x + 32 * i, x_d + e, x_s + e, to, acc)
        return rest(wa, wb, wc, wd, whole, n, x, x_d, x_s, prefetch_at, acc)

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

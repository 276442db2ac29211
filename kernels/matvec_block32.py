"""Four rows of blocks with float scales times a vector."""

from . import formats, matvec_fields, matvec_nibbles, matvec_sixteens
from .lanes import (
    EACH,
    EVEN128,
    FOUR_TIMES,
    LOWER4,
    ODD128,
    UPPER4,
    dot_of,
    over_halves,
    quarters16,
    starter,
    sums_of_32s,
    to_quarters,
)
from .simd import (
    cast,
    f32,
    f32x4,
    f32x8,
    f32x16,
    fma,
    from_half,
    i8x64,
    i32,
    i32x4,
    i32x16,
    load,
    make8,
    prefetch,
    shuffle,
    splat,
    store,
    u16,
    u16x8,
)


def arrangement(fmt):
    """See matvec.arrangement."""
    if _has(fmt, "field"):
        return matvec_fields.arrangement(fmt)
    return matvec_nibbles.arrangement(fmt) if _has(fmt, "halves") else None


def _has(fmt, part):
    return formats.optional(fmt, part) is not None and formats.optional(fmt, "SCALES") <= 1


def four_rows(fmt, is_arranged=False):
    if formats.optional(fmt, "SCALES") > 1:
        return matvec_sixteens.four_rows(fmt)
    codes, block = formats.in_32s(fmt)
    taken = 8 * fmt.BYTES // formats.optional(fmt, "PER")
    has_min, dot, start, quarters = fmt.HAS_MIN, dot_of(fmt), starter(fmt), to_quarters()
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
        v = quarters(ta, tb, tc, td)
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

    if _has(fmt, "halves"):
        sum_bytes = 16 if is_arranged and fmt.OFFSET else 4
        return _in_fours(fmt, matvec_nibbles.step(fmt, is_arranged), sum_bytes, rest)
    if _has(fmt, "field") and is_arranged:
        return _in_fours(fmt, matvec_fields.step(fmt), 16 // fmt.PER, rest)

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        return rest(wa, wb, wc, wd, 0, k // 32, x, x_d, x_s, prefetch_at, splat(f32x4, 0.0))

    return products


def _in_fours(fmt, four, sum_bytes, rest):
    """Four blocks at a time, then the rest. sum_bytes: what x_s has a 32."""
    size, taken = 4 * fmt.BYTES, 4 * formats.optional(fmt, "PER")

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        acc, n = splat(f32x4, 0.0), k // 32
        whole = n // taken * taken
        for i in range(0, whole, taken):
            at, s = i // taken * size, x_s + sum_bytes * i
            to = prefetch_at + 4 * at
            acc = four(wa + at, wb + at, wc + at, wd + at, k, x + 32 * i, x_d + 4 * i, s, to, acc)
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


_SCALE, _SUM, _OFF = 256, 288, 320
_RECORD = 384
_FIRST, _SECOND = EACH[0], EACH[1]


def by_fours(fmt):
    """See matvec_fours. A record
    holds of 64 activations of four rows: codes, i8 [4][64]; of each of two blocks the scales,
    f32 [4], the scaled sums, f32 [4], and what their codes' offset takes off, i32 [4]. Where
    matvec_nibbles takes the format, its records come first, as many as there are whole ones."""
    if formats.optional(fmt, "SCALES") > 1:
        return None
    codes, block = formats.in_32s(fmt)
    taken = 8 * fmt.BYTES // formats.optional(fmt, "PER")
    has_min, offset, dot = fmt.HAS_MIN, fmt.OFFSET, dot_of(fmt)
    scales = _of_eight(fmt.scale, formats.optional(fmt, "SCALE_AT"), block)
    minimums = _of_eight(fmt.minimum, formats.optional(fmt, "MINIMUM_AT"), block)
    in_fours = matvec_nibbles.in_fours(fmt)
    arrange_four, step = matvec_nibbles.by_fours(fmt)
    of_four, size = matvec_nibbles.RECORD, fmt.BYTES

    def n_whole(k):
        """32s in records of matvec_nibbles."""
        if in_fours:
            return k // 128 * 4
        return 0

    def n_bytes(k):
        return n_whole(k) // 4 * of_four + (k // 32 - n_whole(k) + 1) // 2 * _RECORD

    def arrange(k, x, x_d, x_s, y, t):
        n, whole = k // 32, n_whole(k)
        if in_fours:
            for i in range(0, whole, 4):
                arrange_four(x + 32 * i, x_d + 4 * i, x_s + 4 * i, y + i // 4 * of_four, t)
            y += whole // 4 * of_four
        for i in range(whole, n, 2):
            at = y + (i - whole) // 2 * _RECORD
            # An odd last 32 is followed by what lies past the row; that is not used.
            q = load(i8x64, x + 32 * i)
            store(at + 64 * t, q)
            first, second = sums_of_32s(q)
            of_block(i, x_d, x_s, at, t, first)
            of_block(min(i + 1, n - 1), x_d, x_s, at + 16, t, second)

    def of_block(i, x_d, x_s, at, t, total):
        store(at + _SCALE + 4 * t, load(f32, x_d + 4 * i))
        store(at + _SUM + 4 * t, load(f32, x_s + 4 * i))
        store(at + _OFF + 4 * t, i32(total * -offset))

    def row(c, y):
        zero = splat(i32x16, 0)
        return quarters16(
            dot(zero, c, load(i8x64, y)), dot(zero, c, load(i8x64, y + 64)),
            dot(zero, c, load(i8x64, y + 128)), dot(zero, c, load(i8x64, y + 192)),
        )  # fmt: skip

    def pair(wa, wb, wc, wd, i, j, y, prefetch_at, acc):
        """See pair of four_rows."""
        at = prefetch_at + 4 * block(0, i)
        for line in range(0, taken, 64):
            prefetch(at + line)
        a, b = row(codes(wa, i, j), y), row(codes(wb, i, j), y)
        c, d = row(codes(wc, i, j), y), row(codes(wd, i, j), y)
        first, second = over_halves(a, b, c, d)
        f = scales(wa, wb, wc, wd, i, j)
        m = f
        if has_min:
            m = minimums(wa, wb, wc, wd, i, j)
        acc = one(first, shuffle(_FIRST, f, f), shuffle(_FIRST, m, m), y, acc)
        if i != j:
            acc = one(second, shuffle(_SECOND, f, f), shuffle(_SECOND, m, m), y + 16, acc)
        return acc

    def one(total, f, m, y, acc):
        if offset:
            off = load(i32x4, y + _OFF)
            total = total + shuffle(FOUR_TIMES, off, off)
        d = load(f32x4, y + _SCALE)
        acc = fma(cast(f32x16, total) * f, shuffle(FOUR_TIMES, d, d), acc)
        if has_min:
            s = load(f32x4, y + _SUM)
            acc = fma(m, shuffle(FOUR_TIMES, s, s), acc)
        return acc

    def products(wa, wb, wc, wd, k, y, prefetch_at):
        acc, n, whole = splat(f32x16, 0.0), k // 32, n_whole(k)
        if in_fours:
            for i in range(0, whole, 4):
                at = i * size
                acc = step(wa + at, wb + at, wc + at, wd + at, y + i // 4 * of_four, prefetch_at + 4 * at, acc)
            y += whole // 4 * of_four
        for i in range(whole, n - 1, 2):
            acc = pair(wa, wb, wc, wd, i, i + 1, y + (i - whole) // 2 * _RECORD, prefetch_at, acc)
        if (n - whole) % 2 == 1:
            acc = pair(wa, wb, wc, wd, n - 1, n - 1, y + (n - 1 - whole) // 2 * _RECORD, prefetch_at, acc)
        return acc

    return n_bytes, arrange, products, 2

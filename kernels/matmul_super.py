"""Matrix products of super-blocks of 256 elements with integer scales: see matmul.

Sums are integers to the end of a super-block, as in matvec: Q4_K's can pass 2**24, where floats would round on the way.
A group's sum times its scale is one instruction where the sum fits 16 bits and the processor multiplies pairs of them
(`Target.scales_pairs`), else three. Whether all sums of a super-block fit is known of a format whose codes are small,
and of others from the magnitudes of the activations at hand (quantize.tiles): they nearly always do, as the greatest
code of 256 activations is 127. Sums that fit in half a group alone are scaled half by half. All of it is exact.
"""

from .formats import SIGNED
from .quantize import MOST, P_BYTES, greatest_lane
from .simd import (
    Lanes,
    cast,
    f32,
    f32x16,
    i16x32,
    i32,
    i32x8,
    i32x16,
    load,
    maximum,
    shuffle,
    splat,
    store,
    tile_add,
    tile_dots,
    tile_fill,
    tile_load,
    tile_pair,
    tile_scale,
    tile_scaled,
    tile_spread,
    tile_start,
    tile_store,
)
from .simd.targets import current

_EVEN8 = Lanes(tuple(range(0, 16, 2)))
_K = 512
"""So many activations of a tile's tokens, 24 KB of three vectors, stay in the first-level cache for all rows."""
FEW = 1023
"""The greatest sum of 16 magnitudes with which all sums fit 16 bits: Q6_K's codes are up to 32 from their middle."""


def super_blocks(fmt, R, V, BLOCK_ROWS):
    """unpack, micro, the stretch of K and `prepare`, as matmul.block wants them."""
    GROUP, PER, S = fmt.GROUP, 256 // fmt.GROUP, _K // 256
    SCALES = BLOCK_ROWS * _K
    MINIMUMS = SCALES + BLOCK_ROWS * S * PER * 4
    put_minimums, minimum_sums, MINIMUM = of_minimums(fmt, R, V)
    FACTORS = MINIMUMS + BLOCK_ROWS * S * MINIMUM
    SHORT_SCALES = FACTORS + BLOCK_ROWS * S * 8
    MAGNITUDES = SHORT_SCALES + BLOCK_ROWS * S * PER * 4
    OFFSETS = MAGNITUDES + S * 64
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, offset, has_min = fmt.BYTES, fmt.OFFSET, fmt.HAS_MIN
    RV, max_code, target = R * V, fmt.MAX_CODE, current()
    always, mostly, fits = _parts(fmt, MOST, target), _parts(fmt, FEW, target), target.scales_pairs
    is_few = mostly > 0 and mostly != always
    widened = _of_32 if PER == 8 else _of_16

    def unpack(w, k0, k1, block, r):
        for s in range((k1 - k0) // 256):
            p = w + (k0 // 256 + s) * size
            for run in range(4):
                store(block + r * _K + 256 * s + 64 * run, codes(p, run))
            put(block + (r * S + s) * PER * 4, scales(p))
            store(block + FACTORS + (r * S + s) * 8, f32(d(p)))
            if has_min:
                put_minimums(block + MINIMUMS + (r * S + s) * MINIMUM, minimums(p))
                store(block + FACTORS + (r * S + s) * 8 + 4, f32(-dmin(p)))

    def put(block, numbers):
        """A scale a group, as 32 bits, and as 16 before 16 bits of zeros; they come as one for 16 elements."""
        of_groups = widened(numbers)
        store(block + SCALES, of_groups)
        if fits:
            store(block + SHORT_SCALES, of_groups & 0xFFFF)

    def prepare(p, block, k0, k1, t):
        """For V vectors of tokens from tile t on and all rows: what the codes' offset adds to sums of 16, and the
        greatest sums of magnitudes."""
        supers = p.k // 256
        for s in range((k1 - k0) // 256):
            of = t * supers + k0 // 256 + s
            if is_few:
                most = splat(i32x16, 0)
                for v in range(V):
                    most = maximum(most, load(i32x16, p.x_p + (of + v * supers) * P_BYTES + 256))
                store(block + MAGNITUDES + 64 * s, greatest_lane(most))
            if offset:
                for g in range(16):
                    for v in range(V):
                        sums = load(i32x16, p.x_s + ((of + v * supers) * 16 + g) * 64)
                        store(block + OFFSETS + ((16 * s + g) * V + v) * 64, sums * -offset)

    def scaled_in(parts, fits):
        """The integer sums of a super-block, where a scale multiplies one `parts`th of a group at a time."""
        RUN, SCALES_AT = GROUP // parts, SHORT_SCALES if fits else SCALES
        steps = RUN // 4

        def scaled(p, block, r, s, x):
            total = tile_fill(RV, splat(i32x16, 0))
            for i in range(256 // RUN):
                if offset:
                    at = block + OFFSETS + (16 * s + i * (RUN // 16)) * V * 64
                    start = tile_spread(i32x16, at, 64, V)
                    if RUN == 32:
                        start = tile_add(start, tile_spread(i32x16, at + 64 * V, 64, V))
                    a = tile_start(start, 1, R)
                else:
                    a = tile_fill(RV, splat(i32x16, 0))
                w = block + r * _K + 256 * s + RUN * i
                a = tile_dots(a, w, _K, x + 16 * RUN * i, p.k * 16, V, steps, max_code)
                scale = block + SCALES_AT + ((r * S + s) * PER + i // parts) * 4
                total = tile_scale(total, a, scale, S * PER * 4, V, fits)
            return total

        return scaled

    at_worst = scaled_in(always or mostly or 1, always > 0)
    at_ease = scaled_in(mostly, True) if is_few else at_worst

    def micro(p, block, r, k0, k1, t, c):
        supers = p.k // 256
        s0 = t * supers + k0 // 256
        for s in range((k1 - k0) // 256):
            x = p.x + (t * p.k + k0 + 256 * s) * 16
            if is_few and load(i32, block + MAGNITUDES + 64 * s) <= FEW:
                total = at_ease(p, block, r, s, x)
            else:
                total = at_worst(p, block, r, s, x)
            acc = tile_load(f32x16, c, R, 64, V, BLOCK_ROWS * 64)
            xd = tile_spread(f32x16, p.x_d + (s0 + s) * 64, supers * 64, V)
            acc = tile_scaled(acc, total, block + FACTORS + (r * S + s) * 8, S * 8, xd)
            if has_min:
                total = minimum_sums(p, block + MINIMUMS + (r * S + s) * MINIMUM, S * MINIMUM, s0 + s)
                acc = tile_scaled(acc, total, block + FACTORS + (r * S + s) * 8 + 4, S * 8, xd)
            tile_store(c, 64, BLOCK_ROWS * 64, acc, V)

    return unpack, micro, _K, prepare if is_few or offset else None


def of_minimums(fmt, R, V):
    """How a super-block's minimums stand in scratch, and their sums: put(at, numbers); sums(p, at, stride, of), of R
    rows, `stride` bytes apart, times sums of V vectors' activations, `of` being the first one's super-block of all; and
    how many bytes one takes."""
    RV, fits = R * V, current().scales_pairs

    def put_pairs(at, numbers):
        store(at, shuffle(_EVEN8, numbers, numbers))

    def pairs(p, at, stride, of):
        supers, total = p.k // 256, tile_fill(RV, splat(i32x16, 0))
        for j in range(4):
            xs = tile_spread(i16x32, p.x_p + of * P_BYTES + 64 * j, supers * P_BYTES, V)
            total = tile_pair(total, at + 4 * j, stride, xs)
        return total

    def put(at, numbers):
        store(at, cast(i32x16, numbers))

    def sums(p, at, stride, of):
        # The sums in pairs that come with activations are those of 32.
        supers, total = p.k // 256, tile_fill(RV, splat(i32x16, 0))
        for g in range(16):
            a = tile_start(tile_spread(i32x16, p.x_s + (of * 16 + g) * 64, supers * 1024, V), 1, R)
            total = tile_scale(total, a, at + 4 * g, stride, V, fits)
        return total

    return (put_pairs, pairs, 16) if fmt.GROUP == 32 else (put, sums, 64)


def _of_32(numbers):
    return cast(i32x8, shuffle(_EVEN8, numbers, numbers))


def _of_16(numbers):
    return cast(i32x16, numbers)


def run(fmt, target) -> int:
    """Elements whose sums are scaled together, as a rule."""
    return fmt.GROUP // (_parts(fmt, FEW, target) or 1)


def _parts(fmt, most, target):
    """The fewest parts of a group, of at least 16 elements, whose sums fit 16 bits where those of 16 magnitudes are
    `most` at most; 0: none do, or they gain nothing."""
    greatest = 127 if fmt.MAX_CODE == SIGNED else max(fmt.OFFSET, fmt.MAX_CODE - fmt.OFFSET)
    fitting = (n for n in range(1, fmt.GROUP // 16 + 1) if greatest * most * (fmt.GROUP // 16 // n) < 1 << 15)
    return next(fitting, 0) if target.scales_pairs else 0

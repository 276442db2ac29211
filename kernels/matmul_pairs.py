"""Matrix products of super-blocks where no instruction multiplies and adds four bytes (AVX2): see matmul.

There products of two bytes are added up in 16 bits, and pairs of such sums in 32. The second step multiplies by the
scale of the group on its way, as matvec_pairs does, and what the codes' offset adds is taken off with the sums of
activations, two groups a step. The sums are the same integers.
"""

from .formats import SIGNED
from .quantize import P_BYTES
from .simd import (
    Lanes,
    dot2_u7,
    f32,
    f32x16,
    i8x64,
    i16x16,
    i16x32,
    i32x16,
    load,
    shuffle,
    splat,
    store,
    tile_fill,
    tile_group,
    tile_join16,
    tile_load,
    tile_pair,
    tile_scaled,
    tile_spread,
    tile_store,
    u8x64,
)

_TWICE = Lanes(tuple(i // 2 for i in range(32)))
_EVEN = Lanes(tuple(range(0, 16, 2)))
_SUMS_OF = 254
"""A sum of two products of codes up to 1 with activations, at most."""


def super_blocks(fmt, R, V, BLOCK_ROWS):
    """unpack, micro, the stretch of K and `prepare`, as matmul.block wants them."""
    K = 2048
    GROUP, PER = fmt.GROUP, 256 // fmt.GROUP
    S = K // 256
    SCALES = BLOCK_ROWS * K
    OTHERS = SCALES + BLOCK_ROWS * S * PER * 4
    FACTORS = OTHERS + BLOCK_ROWS * S * PER * 2
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, offset, has_min, max_code = fmt.BYTES, fmt.OFFSET, fmt.HAS_MIN, fmt.MAX_CODE
    RV, steps = R * V, GROUP // 4
    is_signed, greatest = max_code == SIGNED, 127 if max_code == SIGNED else max_code
    # Where two sums of two products do not fit 16 bits, they do less what their offset adds.
    is_over = not is_signed and 32767 // (_SUMS_OF * greatest) < 2
    together = 32767 // (_SUMS_OF * (max(greatest - offset, offset) if is_over else greatest))
    chunks = (steps + together - 1) // together
    OVER = FACTORS + BLOCK_ROWS * S * 8
    over_stride = K // GROUP * chunks * 64
    has_others, pairs = has_min or (offset != 0 and not is_over), PER // 2

    def unpack(w, k0, k1, block, r):
        for s in range((k1 - k0) // 256):
            p = w + (k0 // 256 + s) * size
            for run in range(4):
                store(block + r * K + 256 * s + 64 * run, codes(p, run))
            sc, at = scales(p), r * S + s
            put(block + SCALES + at * PER * 4, sc)
            if has_min:
                put_others(block + OTHERS + at * PER * 2, minimums(p))
                store(block + FACTORS + at * 8 + 4, f32(-dmin(p)))
            elif has_others:
                put_others(block + OTHERS + at * PER * 2, sc * splat(i16x16, -offset))
            store(block + FACTORS + at * 8, f32(d(p)))

    def put(at, numbers):
        """A number a group, twice; they come as one for 16 elements."""
        if PER == 8:
            store(at, numbers)
        else:
            store(at, shuffle(_TWICE, numbers, numbers))

    def put_others(at, numbers):
        if PER == 8:
            store(at, shuffle(_EVEN, numbers, numbers))
        else:
            store(at, numbers)

    def prepare(p, block, k0, k1, t):
        """What the offset adds to the sums of 16 bits, V vectors of tokens from tile t on, for all rows."""
        of = splat(u8x64, offset)
        for v in range(V):
            at = block + OVER + v * over_stride
            x = p.x + ((t + v) * p.k + k0) * 16
            for g in range((k1 - k0) // GROUP):
                for first in range(0, steps, together):
                    total = splat(i16x32, 0)
                    for step in range(first, min(first + together, steps)):
                        total = total + dot2_u7(of, load(i8x64, x + 16 * GROUP * g + 64 * step))
                    store(at, total)
                    at += 64

    def with_sums(total, p, others, t, s):
        """Sums of activations, group by group, times two bytes each at `others`."""
        supers = p.k // 256
        for j in range(pairs):
            if PER == 8:
                xs = tile_spread(i16x32, p.x_p + (t * supers + s) * P_BYTES + 64 * j, supers * P_BYTES, V)
            else:
                at = p.x_s + ((t * supers + s) * 16 + 2 * j) * 64
                xs = tile_join16(
                    tile_spread(i32x16, at, supers * 1024, V), tile_spread(i32x16, at + 64, supers * 1024, V)
                )
            total = tile_pair(total, others + 4 * j, S * PER * 2, xs)
        return total

    def micro(p, block, r, k0, k1, t, c):
        supers, w = p.k // 256, block + r * K
        for s in range((k1 - k0) // 256):
            at, from_start = r * S + s, k0 // 256 + s
            x, others = p.x + (t * p.k + k0 + 256 * s) * 16, block + OTHERS + at * PER * 2
            total = tile_fill(RV, splat(i32x16, 0))
            for g in range(PER):
                total = tile_group(
                    total, w + 256 * s + GROUP * g, K, x + 16 * GROUP * g, p.k * 16, V, steps, together, is_signed,
                    is_over, block + OVER + (s * PER + g) * chunks * 64, over_stride,
                    block + SCALES + (at * PER + g) * 4, S * PER * 4,
                )  # fmt: skip
            if has_others and not has_min:
                total = with_sums(total, p, others, t, from_start)
            acc = tile_load(f32x16, c, R, 64, V, BLOCK_ROWS * 64)
            xd = tile_spread(f32x16, p.x_d + (t * supers + from_start) * 64, supers * 64, V)
            acc = tile_scaled(acc, total, block + FACTORS + at * 8, S * 8, xd)
            if has_min:
                total = with_sums(tile_fill(RV, splat(i32x16, 0)), p, others, t, from_start)
                acc = tile_scaled(acc, total, block + FACTORS + at * 8 + 4, S * 8, xd)
            tile_store(c, 64, BLOCK_ROWS * 64, acc, V)

    return unpack, micro, K, prepare if is_over else None

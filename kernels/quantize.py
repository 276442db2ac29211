"""Activations made ready for products: f32 rows to int8 codes with a scale a group of 32 or 256 elements, and sums.

`rows` writes them in order, for matvec; `tiles` packs 16 tokens side by side, for matmul, where tokens are lanes.
Rounding is to nearest even; a group's scale is its greatest magnitude / 127 (as llama.cpp's Q8_0, without rounding the
scale to 16 bits). Where an element is no finite number, neither is the scale: all products of the row with a matrix are
then no finite numbers, whatever the codes are.

Centred, codes and sums are of what elements differ from the middle of their 32 neighbours, the mean of the least and
the greatest. Most groups have an element far from zero on one side alone: differences are nearly half as large then,
and so is a step of the codes.
"""

from .simd import (
    Lanes,
    Struct,
    absolute,
    bitcast,
    cast,
    dot4,
    f32,
    f32x16,
    hmax,
    hsum,
    i8x16,
    i8x64,
    i16,
    i32,
    i32x4,
    i32x16,
    i64,
    lane,
    load,
    maximum,
    minimum,
    prefetch,
    shuffle,
    splat,
    store,
    u8x64,
)
from .thread import Thread, claim

Params = Struct("Quantize", ("n_rows_at", "k", "x", "stride", "q", "d", "s", "p", "middles"))
"""x: f32 rows of k elements, `stride` bytes apart; n_rows_at: address of their number (int64).

rows(group): q int8 [k to a multiple of 64], d f32 [k / group]; s: group 32: f32 [k / 32], d * sum; group 256: int16
[k / 16] sums; a row of each after the other.

tiles(group), for each tile of 16 rows: q int8 [k / 4][16][4], d f32 [k / group][16]; s int32 [k / 32][16] sums (group
256: [k / 16][16]); p: group 32: f32 [k / 32][16], d * sum; group 256, for each of them: int16 [4][16][2], sums of 32,
and int32 [16], the greatest sum of 16 magnitudes (MANY where codes mean nothing). Rows past n_rows are zeros.

middles: f32 [n_rows][k / MIDDLE], of both, where they are "centred".
"""

MIDDLE = 32
"""Elements that share a middle."""

P_BYTES = 5 * 64
"""Of `p` in tiles, a group of 256."""
MOST = 16 * 127
"""The greatest possible sum of 16 magnitudes of codes."""
MANY = MOST + 1

_MAGIC = 12582912.0
_MAGIC_BITS = 0x4B400000
"""1.5 * 2**23: added to a float below 2**22 it leaves the nearest integer in the low bits."""


def codes16(x, inverse):
    """Nearest integers of 16 elements times `inverse`: i32x16."""
    return bitcast(i32x16, load(f32x16, x) * inverse + _MAGIC) - _MAGIC_BITS


_TURN8, _TURN4, _TURN2, _TURN1 = (Lanes(tuple((i + step) % 16 for i in range(16))) for step in (8, 4, 2, 1))


def greatest_lane(m):
    """The greatest lane of an i32x16, in all lanes."""
    m = maximum(m, shuffle(_TURN8, m, m))
    m = maximum(m, shuffle(_TURN4, m, m))
    m = maximum(m, shuffle(_TURN2, m, m))
    return maximum(m, shuffle(_TURN1, m, m))


def greatest(x, n):
    """Greatest magnitude of n elements, n a multiple of 16; infinite or NaN where one is.

    As integers the bits of magnitudes have the same order, with infinity above all numbers and NaN above it, while a
    maximum of floats drops NaN.
    """
    m = splat(i32x16, 0)
    for i in range(0, n, 16):
        m = maximum(bitcast(i32x16, absolute(load(f32x16, x + 4 * i))), m)
    return lane(bitcast(f32x16, greatest_lane(m)), 0)


_LEAST = 2.0**-126
"""The least scale that counts: 1 / d is infinite below a quarter of it, and codes would be garbage."""


def inverse_of(d):
    if d >= f32(_LEAST):
        return f32(f32(1.0) / d)
    return f32(0.0)


def middle(a, b):
    """Of 32 elements, two vectors of 16."""
    most, least = hmax(maximum(a, b)), hmax(splat(f32x16, 0.0) - minimum(a, b))
    return f32(f32(most * f32(0.5)) - f32(least * f32(0.5)))


def centred(x, n, out, middles):
    """n elements less their middles, and these; where an element is no finite number, neither is its difference."""
    for i in range(0, n, MIDDLE):
        a, b = load(f32x16, x + 4 * i), load(f32x16, x + 4 * i + 64)
        m = middle(a, b)
        store(middles + i // MIDDLE * 4, m)
        store(out + 4 * i, a - splat(f32x16, m))
        store(out + 4 * i + 64, b - splat(f32x16, m))


def rows(group: int, how: str = "plain"):
    """Quantize rows; threads claim a few groups of one. how: "plain" or "centred"."""
    is_centred = how == "centred"

    def kernel(params, thread):
        p = Params(params)
        n = p.k // group
        pieces = (n + STEP - 1) // STEP
        units = load(i64, p.n_rows_at) * pieces
        unit = claim(thread, 1)
        while unit < units:
            row, first = unit // pieces, unit % pieces * STEP
            x, q = p.x + row * p.stride, p.q + row * ((p.k + 63) // 64 * 64)
            for g in range(first, min(first + STEP, n)):
                at = x + 4 * group * g
                if is_centred:
                    centred(at, group, Thread(thread).scratch, p.middles + (row * n + g) * (group // MIDDLE * 4))
                    at = Thread(thread).scratch
                one_group(at, q + group * g, p.d + 4 * (row * n + g), p.s + group_sums * (row * n + g))
            unit = claim(thread, 1)

    STEP = 1024 // group
    group_sums = 4 if group == 32 else 2 * group // 16

    def one_group(x, q, d_at, s):
        d = f32(greatest(x, group) / f32(127.0))
        inverse = inverse_of(d)
        store(d_at, d)
        total = i32(0)
        for i in range(0, group, 16):
            c = codes16(x + 4 * i, inverse)
            store(q + i, cast(i8x16, c))
            n = hsum(c)
            if group == 256:
                store(s + i // 8, i16(n))
            total = i32(total + n)
        if group == 32:
            store(s, f32(d * f32(total)))

    return kernel


def tiles(group: int, how: str = "plain"):
    """Pack tiles of 16 rows; threads claim pieces of a tile. how: "plain" or "centred"."""
    is_centred = how == "centred"
    sums = _sums_of_32 if group == 32 else _sums_of_256

    def kernel(params, thread):
        p = Params(params)
        n_rows = load(i64, p.n_rows_at)
        n_tiles, n_groups = (n_rows + 15) // 16, p.k // group
        unit = claim(thread, 1)
        pieces = (n_groups + STEP - 1) // STEP
        while unit < n_tiles * pieces:
            tile, first = unit // pieces, unit % pieces * STEP
            last = min(first + STEP, n_groups)
            for row in range(16):
                # Rows' pieces are too short for the processor to see what comes next.
                for i in range(4 * group * first, 4 * group * last, 64):
                    prefetch(p.x + (tile * 16 + row + 1) * p.stride + i)
                for g in range(first, last):
                    lane_group(p, tile, row, g, n_rows, Thread(thread).scratch)
            for g in range(first, last):
                sums(p, tile * n_groups + g)
            unit = claim(thread, 1)

    STEP = 512 // group

    def lane_group(p, tile, row, g, n_rows, differences):
        """One row's group: its codes four by four, 64 bytes apart, and its scale."""
        of = tile * (p.k // group) + g
        q, d_at = p.q + of * group * 16 + row * 4, p.d + (of * 16 + row) * 4
        if tile * 16 + row >= n_rows:
            store(d_at, f32(0.0))
            for i in range(0, group, 4):
                store(q + 16 * i, i32(0))
            return
        x = p.x + (tile * 16 + row) * p.stride + 4 * group * g
        if is_centred:
            centred(x, group, differences, p.middles + ((tile * 16 + row) * (p.k // group) + g) * (group // MIDDLE * 4))
            x = differences
        d = f32(greatest(x, group) / f32(127.0))
        inverse = inverse_of(d)
        store(d_at, d)
        for i in range(0, group, 16):
            packed = bitcast(i32x4, cast(i8x16, codes16(x + 4 * i, inverse)))
            store(q + 16 * i, lane(packed, 0))
            store(q + 16 * i + 64, lane(packed, 1))
            store(q + 16 * i + 128, lane(packed, 2))
            store(q + 16 * i + 192, lane(packed, 3))

    return kernel


def _sums_of_32(p, of):
    """Of group number `of` of all tiles, all 16 rows at once."""
    q, total = p.q + of * 512, splat(i32x16, 0)
    for i in range(8):
        total = dot4(total, splat(u8x64, 1), load(i8x64, q + 64 * i))
    store(p.s + 64 * of, total)
    store(p.p + 64 * of, load(f32x16, p.d + 64 * of) * cast(f32x16, total))


def _sums_of_256(p, of):
    q, s, pairs, most = p.q + of * 4096, p.s + of * 1024, p.p + of * P_BYTES, splat(i32x16, 0)
    for i in range(4):
        a, most = _sums_of_16(q + 1024 * i, s + 256 * i, most)
        b, most = _sums_of_16(q + 1024 * i + 256, s + 256 * i + 64, most)
        c, most = _sums_of_16(q + 1024 * i + 512, s + 256 * i + 128, most)
        d, most = _sums_of_16(q + 1024 * i + 768, s + 256 * i + 192, most)
        store(pairs + 64 * i, ((a + b) & 0xFFFF) | ((c + d) << 16))
    # A scale that is no finite number has all bits of the exponent: one more there makes it negative.
    means_nothing = (bitcast(i32x16, absolute(load(f32x16, p.d + 64 * of))) + (1 << 23)) >> 31
    store(pairs + 256, maximum(most, means_nothing & MANY))


def _sums_of_16(q, s, most):
    """Stores the sum; it, and the greater of its magnitudes' and `most`."""
    total, magnitudes = splat(i32x16, 0), splat(i32x16, 0)
    for i in range(4):
        codes = load(i8x64, q + 64 * i)
        total = dot4(total, splat(u8x64, 1), codes)
        magnitudes = dot4(magnitudes, bitcast(u8x64, maximum(codes, splat(i8x64, 0) - codes)), splat(i8x64, 1))
    store(s, total)
    return total, maximum(magnitudes, most)

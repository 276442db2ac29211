"""Matrix products by squares of 16 rows and 16 tokens, where an instruction makes one at once (AMX): see matmul.

A square of sums is 1 KB, which is written and read again, so that long sums are wanted. Super-blocks have them: a code
times the scale of its group fits 16 bits, and low bytes and high bytes make two products of 256 elements each, the
second of which counts 256 times. The sums are the same integers. Squares of what comes next are asked for before those
at hand are folded into floats: the processor does both at a time.
"""

from . import formats
from .matmul_super import of_minimums
from .simd import (
    Lanes,
    bitcast,
    cast,
    f32,
    f32x16,
    i8x64,
    i16x32,
    i32x16,
    shuffle,
    squares_add,
    squares_begin,
    squares_clear,
    squares_end,
    squares_put,
    store,
    tile_add,
    tile_fma,
    tile_load,
    tile_scale2,
    tile_scaled,
    tile_spread,
    tile_start,
    tile_store,
    u8x32,
)

TILE = (16, 2)
"""Rows, and vectors of 16 tokens."""
_K = 2048
_SQUARE = 1024
_ROWS = 4
"""Of a square that are folded at once."""


def products(fmt, V, BLOCK_ROWS):
    """unpack, micro, the stretch of K and `prepare`, as matmul.block wants them; micro has 16 rows."""
    fmt = formats.signed(fmt)
    return (_super if fmt.KIND == "super" else _block32)(fmt, V, BLOCK_ROWS)


def begin_of(fmt):
    """begin(): before a thread's first micro, for weights of a format."""
    run = 64 if fmt.KIND == "super" else 32 // formats.optional(fmt, "SCALES")

    def begin():
        squares_begin(run)

    return begin


def end():
    """After its last."""
    squares_end()


def _row(block, r):
    """Of the codes of 16 rows, 64 of each stand together: those of the first row, of the next, and so on."""
    return block + r // 16 * (16 * _K) + r % 16 * 64


# --- blocks of 32 with a float scale, or two


def _block32(fmt, V, BLOCK_ROWS):
    K, RUN = _K, 32 // formats.optional(fmt, "SCALES")
    PER, G = 32 // RUN, K // RUN
    SCALES = BLOCK_ROWS * K
    MINIMUMS = SCALES + BLOCK_ROWS * G * 4
    SQUARES = MINIMUMS + BLOCK_ROWS * G * 4
    SOME = 2
    BUFFER = SOME * V * _SQUARE
    has_min, put_scales = fmt.HAS_MIN, _scales(fmt)
    minimum = fmt.minimum if has_min else _none
    codes, place = formats.in_32s(fmt)
    signed = int(fmt.MAX_CODE == formats.SIGNED)

    def unpack(w, k0, k1, block, r):
        n, w = (k1 - k0) // 32, place(w, k0 // 32)
        for i in range(0, n, 2):
            store(_row(block, r) + 512 * i, codes(w, i, min(i + 1, n - 1)))
        for i in range(n):
            a = place(w, i)
            put_scales(a, i, block + SCALES + (r * G + PER * i) * 4)
            if has_min:
                store(block + MINIMUMS + (r * G + i) * 4, minimum(a))

    def make(p, w, x, g, n, out):
        """The products of n groups from g on."""
        for i in range(n):
            k, place = RUN * (g + i), out + i * V * _SQUARE
            squares_clear(place, V)
            squares_add(place, w + k // 64 * 1024 + k % 64, 0, 1, x + 16 * k, p.k * 16, V, RUN, signed)
            squares_put(place, V)

    def fold(p, block, row, d, g, n, squares_at, c):
        """Products of n groups, _ROWS rows of them from `row` on: squares_at, c, block are those of its first row."""
        groups = p.k // 32
        at = block + (row * G + g) * 4
        acc = tile_load(f32x16, c, _ROWS, 64, V, BLOCK_ROWS * 64)
        for i in range(n):
            a = tile_load(i32x16, squares_at + i * V * _SQUARE, _ROWS, 64, V, _SQUARE)
            j = d + (g + i) // PER * 64
            acc = tile_scale2(acc, a, at + SCALES + 4 * i, G * 4, tile_spread(f32x16, p.x_d + j, groups * 64, V))
            if has_min:
                s = tile_spread(f32x16, p.x_p + j, groups * 64, V)
                acc = tile_fma(acc, at + MINIMUMS + 4 * i, G * 4, s)
        tile_store(c, 64, BLOCK_ROWS * 64, acc, V)

    def micro(p, block, r, k0, k1, t, c):
        x = p.x + (t * p.k + k0) * 16
        d = (t * (p.k // 32) + k0 // 32) * 64
        w, buffer = _row(block, r), block + SQUARES
        n = (k1 - k0) // RUN
        whole = n // SOME * SOME
        make(p, w, x, 0, min(n, SOME), buffer)
        at = buffer
        for g in range(0, whole, SOME):
            then = buffer + BUFFER - (at - buffer)
            make(p, w, x, g + SOME, min(n - g - SOME, SOME), then)
            for row in range(0, 16, _ROWS):
                fold(p, block, r + row, d, g, SOME, at + 64 * row, c + 64 * row)
            at = then
        for g in range(whole, n):
            for row in range(0, 16, _ROWS):
                fold(p, block, r + row, d, g, 1, at + (g - whole) * V * _SQUARE + 64 * row, c + 64 * row)

    return unpack, micro, K, None


def _none(p):
    return f32(0.0)


def _scales(fmt):
    """put(p, i, out): the scales of the 32 elements number i, which are of the block at p."""
    scale = fmt.scale

    def one(p, i, out):
        store(out, scale(p))

    def two(p, i, out):
        store(out, scale(p, i & 1, 0))
        store(out + 4, scale(p, i & 1, 1))

    return two if formats.optional(fmt, "SCALES") == 2 else one


# --- super-blocks of 256 with integer scales

_FIRST, _LAST = Lanes(tuple(range(32))), Lanes(tuple(range(32, 64)))
_OF_32 = [Lanes(tuple(2 * half + i // 16 for i in range(32))) for half in range(8)]
_S0, _S1, _S2, _S3, _S4, _S5, _S6, _S7 = _OF_32


def _super(fmt, V, BLOCK_ROWS):
    K = _K
    S = K // 256
    HIGH = BLOCK_ROWS * K
    MINIMUMS = 2 * HIGH
    put_minimums, minimum_sums, MINIMUM = of_minimums(fmt, _ROWS, V)
    FACTORS = MINIMUMS + BLOCK_ROWS * S * MINIMUM
    SQUARES = FACTORS + BLOCK_ROWS * S * 8
    V2 = 2 * V
    BUFFER = V2 * _SQUARE
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, has_min = fmt.BYTES, fmt.HAS_MIN
    is_signed = fmt.MAX_CODE == formats.SIGNED

    def put(c, first, last, at):
        """64 codes times the scales of the first and of the last 32 of them: low bytes, and high bytes."""
        if is_signed:
            a = cast(i16x32, shuffle(_FIRST, bitcast(i8x64, c), bitcast(i8x64, c))) * first
            b = cast(i16x32, shuffle(_LAST, bitcast(i8x64, c), bitcast(i8x64, c))) * last
        else:
            a = cast(i16x32, shuffle(_FIRST, c, c)) * first
            b = cast(i16x32, shuffle(_LAST, c, c)) * last
        store(at, cast(u8x32, a))
        store(at + 32, cast(u8x32, b))
        store(at + HIGH, cast(u8x32, a >> 8))
        store(at + HIGH + 32, cast(u8x32, b >> 8))

    def unpack(w, k0, k1, block, r):
        for s in range((k1 - k0) // 256):
            p = w + (k0 // 256 + s) * size
            sc = scales(p)
            at = _row(block, r) + 4096 * s
            put(codes(p, 0), shuffle(_S0, sc, sc), shuffle(_S1, sc, sc), at)
            put(codes(p, 1), shuffle(_S2, sc, sc), shuffle(_S3, sc, sc), at + 1024)
            put(codes(p, 2), shuffle(_S4, sc, sc), shuffle(_S5, sc, sc), at + 2048)
            put(codes(p, 3), shuffle(_S6, sc, sc), shuffle(_S7, sc, sc), at + 3072)
            factors = block + FACTORS + (r * S + s) * 8
            store(factors, f32(d(p)))
            if has_min:
                put_minimums(block + MINIMUMS + (r * S + s) * MINIMUM, minimums(p))
                store(factors + 4, f32(-dmin(p)))

    def add(p, w, x, s, run, out):
        k = 256 * s + 64 * run
        squares_add(out, w + 16 * k, HIGH, 2, x + 16 * k, p.k * 16, V, 64, 2)

    def fold(p, block, row, s, s0, at, c):
        """_ROWS rows of a super-block's sums from `row` on, which are at `at`; s0: its number among those of all
        activations of the tile's first vector."""
        supers = p.k // 256
        xd = tile_spread(f32x16, p.x_d + s0 * 64, supers * 64, V)
        factors = block + FACTORS + (row * S + s) * 8
        low = tile_load(i32x16, at, _ROWS, 64, V, _SQUARE)
        high = tile_load(i32x16, at + V * _SQUARE, _ROWS, 64, V, _SQUARE)
        acc = tile_load(f32x16, c, _ROWS, 64, V, BLOCK_ROWS * 64)
        acc = tile_scaled(acc, tile_add(low, tile_start(high, 256, 1)), factors, S * 8, xd)
        if has_min:
            total = minimum_sums(p, block + MINIMUMS + (row * S + s) * MINIMUM, S * MINIMUM, s0)
            acc = tile_scaled(acc, total, factors + 4, S * 8, xd)
        tile_store(c, 64, BLOCK_ROWS * 64, acc, V)

    def micro(p, block, r, k0, k1, t, c):
        x = p.x + (t * p.k + k0) * 16
        s0, n = t * (p.k // 256) + k0 // 256, (k1 - k0) // 256
        w, at = _row(block, r), block + SQUARES
        then = at + BUFFER
        squares_clear(at, V2)
        for run in range(4):
            add(p, w, x, 0, run, at)
        squares_put(at, V2)
        for s in range(n):
            is_more = s + 1 < n
            if is_more:
                squares_clear(then, V2)
            for run in range(4):
                if is_more:
                    add(p, w, x, s + 1, run, then)
                row = _ROWS * run
                fold(p, block, r + row, s, s0 + s, at + 64 * row, c + 64 * row)
            if is_more:
                squares_put(then, V2)
            at, then = then, at

    return unpack, micro, K, None

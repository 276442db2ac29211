"""Matrix-matrix products, for every quantized format: what a prompt costs. Weights are unpacked once a block of rows.

Tokens are lanes: 16 of them to a vector, weights are broadcast, and nothing is transposed but the small result. A
thread claims BLOCK_ROWS rows of weights; for each stretch of K it unpacks them into its scratch (second-level cache),
then runs register tiles of R rows x V vectors over them. Floats are added in the order in which matvec adds them: a
token gives the same bits in a batch of any size. Float formats have a kernel of their own, in matmul_float.
"""

from . import formats, matmul_float, matmul_pairs, matmul_squares, matmul_super
from .simd import (
    Lanes,
    Struct,
    f32,
    f32x4,
    f32x16,
    i32x4,
    i32x16,
    i64,
    load,
    prefetch,
    shuffle,
    splat,
    store,
    tile_dots,
    tile_fill,
    tile_fma,
    tile_load,
    tile_scale2,
    tile_spread,
    tile_start,
    tile_store,
)
from .simd.targets import current
from .thread import Step, Thread, claim

Params = Struct(
    "MatMul",
    ("n_rows_at", "w", "row_bytes", "n", "k", "x", "x_d", "x_s", "x_p", "bias", "add", "out", "stride", "step"),
)
"""out[t, n] = x[t] @ w[n, k] (+ bias) (+ add[t]), f32 rows `stride` bytes apart, for t < the int64 at n_rows_at.
x, x_d, x_s, x_p: see quantize.tiles; x alone, f32 rows of k, for float formats. bias: f32 [n] or 0; add: rows like
out's, or 0. out 0: the step's logits."""

BLOCK_ROWS = 32
MAX_TOKENS = 512
"""Whose sums fit into a thread's scratch: for more of them weights are unpacked again."""
_SUMS_BYTES = BLOCK_ROWS * MAX_TOKENS * 4


def tile_names() -> tuple[str, ...]:
    """Variants of `tiles` on this target: "4x1", rows by vectors; the default first."""
    target = current()
    squares = (matmul_squares.TILE,) if target.squares else ()
    return tuple(f"{rows}x{vectors}" for rows, vectors in (*squares, *target.tiles))


def tiles(fmt: str, tile: str = ""):
    """The kernel for weights in this format; tile: one of tile_names(). Threads claim blocks of rows of weights."""
    work, units = block(fmt, tile)

    def kernel(params, thread):
        p = Params(params)
        unit = claim(thread, 1)
        while unit < units(p):
            work(p, thread, unit)
            unit = claim(thread, 1)

    return kernel


def block(fmt: str, tile: str = ""):
    """work(params, thread, unit): one block of rows of weights times all tokens; units(params): how many there are."""
    format_ = formats.for_products(fmt)
    if format_.KIND == "float":
        return matmul_float.block(format_)
    R, V = map(int, (tile or tile_names()[0]).split("x"))
    # What remains, fewer than V vectors, comes one by one: of more rows, so that sums do not wait for one another.
    N = next(rows for rows, vectors in current().tiles if vectors == 1)
    kind, begin, finish = _KINDS[format_.KIND], _no_more, _no_more
    if (R, V) == matmul_squares.TILE:
        N, kind, begin, finish = R, _squares, matmul_squares.begin_of(format_), matmul_squares.end
    unpack, wide, stretch, prepare_wide = kind(format_, R, V)
    narrow, prepare_narrow = wide, prepare_wide
    if V > 1:
        _, narrow, _, prepare_narrow = kind(format_, N, 1)
    prepare_wide, prepare_narrow = prepare_wide or _nothing, prepare_narrow or _nothing
    PADDED = max(R, N)

    def units(p):
        return (p.n + BLOCK_ROWS - 1) // BLOCK_ROWS

    def coming(p, thread, unit, k1):
        """Address and bytes of a row's next stretch; behind the last one the first of the block that this thread has
        next, if threads keep step."""
        if k1 == p.k:
            unit += Thread(thread).nth
            k1 = i64(0)
        at = p.w + unit * BLOCK_ROWS * p.row_bytes + k1 * p.row_bytes // p.k
        return at, min(stretch, p.k - k1) * p.row_bytes // p.k

    def work(p, thread, unit):
        sums = Thread(thread).scratch
        block = sums + _SUMS_BYTES
        n_tokens = load(i64, p.n_rows_at)
        first = unit * BLOCK_ROWS
        n_rows = min(BLOCK_ROWS, p.n - first)
        padded = (n_rows + PADDED - 1) // PADDED * PADDED
        begin()
        for token in range(0, n_tokens, MAX_TOKENS):
            end = min(token + MAX_TOKENS, n_tokens)
            tile, last = token // 16, (end + 15) // 16
            clear(sums, (last - tile) * BLOCK_ROWS)
            for k0 in range(0, p.k, stretch):
                k1 = min(k0 + stretch, p.k)
                for r in range(padded):
                    # Rows past the end repeat the last one; their sums are not used.
                    unpack(p.w + min(first + r, p.n - 1) * p.row_bytes, k0, k1, block, r)
                soon, n_soon = coming(p, thread, unit, k1)
                t = tile
                while t + V <= last:
                    prepare_wide(p, block, k0, k1, t)
                    for r in range(0, padded, R):
                        fetch(p, soon, n_soon, r, R)
                        wide(p, block, r, k0, k1, t, sums + ((t - tile) * BLOCK_ROWS + r) * 64)
                    t += V
                    n_soon = 0
                while t < last:
                    prepare_narrow(p, block, k0, k1, t)
                    for r in range(0, padded, N):
                        fetch(p, soon, n_soon, r, N)
                        narrow(p, block, r, k0, k1, t, sums + ((t - tile) * BLOCK_ROWS + r) * 64)
                    t += 1
                    n_soon = 0
            write(p, sums, first, n_rows, token, end)
        finish()

    return work, units


def fetch(p, soon, n_soon, first, n):
    """Prefetch n_soon bytes of each of n rows, of which row 0 has them at `soon`."""
    for row in range(first, first + n):
        for i in range(0, n_soon, 64):
            prefetch(soon + row * p.row_bytes + i)


def _nothing(p, block, k0, k1, t):
    """What there is to prepare for all rows of a block, as a rule."""


def _no_more():
    """Nor before a block, or after it."""


def clear(sums, n):
    for i in range(n):
        store(sums + 64 * i, splat(f32x16, 0.0))


# --- results: lanes are tokens, memory wants a row a token

_ZIP_LOW = Lanes(tuple(i // 2 + 16 * (i % 2) for i in range(16)))
_ZIP_HIGH = Lanes(tuple(8 + i // 2 + 16 * (i % 2) for i in range(16)))
_PAIRS_LOW = Lanes(tuple(2 * (i // 4) + i % 2 + 16 * (i // 2 % 2) for i in range(16)))
_PAIRS_HIGH = Lanes(tuple(8 + 2 * (i // 4) + i % 2 + 16 * (i // 2 % 2) for i in range(16)))
_F0, _F1, _F2, _F3 = (Lanes(tuple(range(4 * i, 4 * i + 4))) for i in range(4))


def write(p, sums, first, n_rows, token, end):
    """Add bias and residual, and store the sums of a block of rows for tokens `token` to `end`."""
    out = p.out
    if out == 0:
        out = Step(p.step).logits
    for t in range(token, end, 16):
        n = min(16, end - t)
        source = sums + (t - token) // 16 * BLOCK_ROWS * 64
        r = 0
        while r + 4 <= n_rows:
            a, b = load(f32x16, source + 64 * r), load(f32x16, source + 64 * r + 64)
            c, d = load(f32x16, source + 64 * r + 128), load(f32x16, source + 64 * r + 192)
            place = 4 * (first + r)
            low_ab, high_ab = shuffle(_ZIP_LOW, a, b), shuffle(_ZIP_HIGH, a, b)
            low_cd, high_cd = shuffle(_ZIP_LOW, c, d), shuffle(_ZIP_HIGH, c, d)
            four(p, out, place, t, n, 0, shuffle(_PAIRS_LOW, low_ab, low_cd))
            four(p, out, place, t, n, 4, shuffle(_PAIRS_HIGH, low_ab, low_cd))
            four(p, out, place, t, n, 8, shuffle(_PAIRS_LOW, high_ab, high_cd))
            four(p, out, place, t, n, 12, shuffle(_PAIRS_HIGH, high_ab, high_cd))
            r += 4
        while r < n_rows:
            for j in range(n):
                value = load(f32, source + 64 * r + 4 * j)
                place = 4 * (first + r)
                if p.bias != 0:
                    value = f32(value + load(f32, p.bias + place))
                if p.add != 0:
                    value = f32(value + load(f32, p.add + (t + j) * p.stride + place))
                store(out + (t + j) * p.stride + place, value)
            r += 1


def four(p, out, place, t, n, j, values):
    """Four rows' results for tokens t + j to t + j + 3, as far as there are n."""
    if j < n:
        one(p, out, (t + j) * p.stride + place, place, shuffle(_F0, values, values))
    if j + 1 < n:
        one(p, out, (t + j + 1) * p.stride + place, place, shuffle(_F1, values, values))
    if j + 2 < n:
        one(p, out, (t + j + 2) * p.stride + place, place, shuffle(_F2, values, values))
    if j + 3 < n:
        one(p, out, (t + j + 3) * p.stride + place, place, shuffle(_F3, values, values))


def one(p, out, at, place, values):
    if p.bias != 0:
        values = values + load(f32x4, p.bias + place)
    if p.add != 0:
        values = values + load(f32x4, p.add + at)
    store(out + at, values)


# --- blocks of 32 with a float scale


def _dots(K, V, steps, max_code):
    """dots(tile, w, x, k): tile plus products of so many times four codes at w, rows K bytes apart, with activations at
    x, of k elements.

    On AVX2 it is a loop of its own. LLVM would else prepare floats of the group meanwhile, or spread all codes of a row
    for the lower halves of vectors and keep them for the upper ones, and spill what it has no register for. Of signed
    bytes, whose products fill 16 bits, a run is one step, of others all.
    """
    if not current().adds_pairs:

        def at_once(tile, w, x, k):
            return tile_dots(tile, w, K, x, k * 16, V, steps, max_code)

        return at_once

    IN_ONE = 1 if max_code == formats.SIGNED else steps

    def dots(tile, w, x, k):
        # k & 1 is 0, which LLVM does not know: it would write the loop out.
        for step in range(0, steps + (k & 1), IN_ONE):
            tile = tile_dots(tile, w + 4 * step, K, x + 64 * step, k * 16, V, IN_ONE, max_code)
        return tile

    return dots


def _block32(fmt, R, V):
    if formats.optional(fmt, "SCALES") > 1:
        return _block16(fmt, R, V)
    K = 2048
    G = K // 32
    SCALES = BLOCK_ROWS * K
    MINIMUMS = SCALES + BLOCK_ROWS * G * 4
    codes, place = formats.in_32s(fmt)
    scale, minimum, offset, has_min, max_code = fmt.scale, fmt.minimum, fmt.OFFSET, fmt.HAS_MIN, fmt.MAX_CODE
    minus_offset, RV = -offset, R * V
    dots = _dots(K, V, 8, max_code)

    def unpack(w, k0, k1, block, r):
        n, w = (k1 - k0) // 32, place(w, k0 // 32)
        for i in range(0, n, 2):
            store(block + r * K + 32 * i, codes(w, i, min(i + 1, n - 1)))
        for i in range(n):
            a = place(w, i)
            store(block + SCALES + (r * G + i) * 4, scale(a))
            if has_min:
                store(block + MINIMUMS + (r * G + i) * 4, minimum(a))

    def micro(p, block, r, k0, k1, t, c):
        groups = p.k // 32
        g0 = t * groups + k0 // 32
        x = p.x + (t * p.k + k0) * 16
        w = block + r * K
        acc = tile_load(f32x16, c, R, 64, V, BLOCK_ROWS * 64)
        for g in range((k1 - k0) // 32):
            if offset:
                a = tile_start(tile_spread(i32x16, p.x_s + (g0 + g) * 64, groups * 64, V), minus_offset, R)
            else:
                a = tile_fill(RV, splat(i32x16, 0))
            a = dots(a, w + 32 * g, x + 512 * g, p.k)
            d = tile_spread(f32x16, p.x_d + (g0 + g) * 64, groups * 64, V)
            acc = tile_scale2(acc, a, block + SCALES + (r * G + g) * 4, G * 4, d)
            if has_min:
                s = tile_spread(f32x16, p.x_p + (g0 + g) * 64, groups * 64, V)
                acc = tile_fma(acc, block + MINIMUMS + (r * G + g) * 4, G * 4, s)
        tile_store(c, 64, BLOCK_ROWS * 64, acc, V)

    return unpack, micro, K, None


def _block16(fmt, R, V):
    """Blocks of 64 with a scale a 16."""
    K = 2048
    G = K // 16
    SCALES = BLOCK_ROWS * K
    OFFSETS = SCALES + BLOCK_ROWS * G * 4
    codes, place = formats.in_32s(fmt)
    scale, offsets, max_code = fmt.scale, fmt.OFFSET * 0x01010101, fmt.MAX_CODE
    dots = _dots(K, V, 4, max_code)

    def unpack(w, k0, k1, block, r):
        w = place(w, k0 // 32)
        store(block + OFFSETS, splat(i32x4, offsets))
        for i in range(0, (k1 - k0) // 32, 2):
            p, at = place(w, i), block + SCALES + (r * G + 2 * i) * 4
            store(block + r * K + 32 * i, codes(w, i, i + 1))
            store(at, scale(p, 0, 0))
            store(at + 4, scale(p, 0, 1))
            store(at + 8, scale(p, 1, 0))
            store(at + 12, scale(p, 1, 1))

    def micro(p, block, r, k0, k1, t, c):
        groups = p.k // 32
        x = p.x + (t * p.k + k0) * 16
        w = block + r * K
        acc = tile_load(f32x16, c, R, 64, V, BLOCK_ROWS * 64)
        for g in range((k1 - k0) // 16):
            # What the codes' offset adds: the sums that come with activations are those of 32.
            over = tile_fill(V, splat(i32x16, 0))
            over = tile_dots(over, block + OFFSETS, 0, x + 256 * g, p.k * 16, V, 4, max_code)
            a = tile_start(over, -1, R)
            a = dots(a, w + 16 * g, x + 256 * g, p.k)
            d = tile_spread(f32x16, p.x_d + (t * groups + k0 // 32 + g // 2) * 64, groups * 64, V)
            acc = tile_scale2(acc, a, block + SCALES + (r * G + g) * 4, G * 4, d)
        tile_store(c, 64, BLOCK_ROWS * 64, acc, V)

    return unpack, micro, K, None


def _super(fmt, R, V):
    of = matmul_pairs if current().adds_pairs else matmul_super
    return of.super_blocks(fmt, R, V, BLOCK_ROWS)


_KINDS = {"block32": _block32, "super": _super}


def _squares(fmt, _, V):
    return matmul_squares.products(fmt, V, BLOCK_ROWS)

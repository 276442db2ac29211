"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864) and the writing of keys and values into the cache.

`table` computes cosines and sines once a batch, `rotate` rotates queries in place, `cache` rotates keys and stores
them with the values. Pairings: "adjacent" (elements 2i, 2i + 1: llama) and "halves" (i, i + n_rot / 2: GPT-NeoX).
"""

from .cells import GROUP, bytes_of
from .hadamard import turn
from .quantize import codes16, greatest, inverse_of
from .simd import (
    Struct,
    absolute,
    bitcast,
    cast,
    f32,
    f32x16,
    f64,
    i8,
    i8x16,
    i32,
    i64,
    lane,
    load,
    minimum,
    splat,
    store,
    to_half,
    u8x16,
    u32x4,
)
from .thread import Step, Thread, claim

TableParams = Struct("RopeTable", ("step", "frequencies", "n", "scale", "out"))
"""frequencies: f64 [n] radians a position; out: f32 [n_rows][n][2] cosine, sine, both times scale (bits of f64)."""

RotateParams = Struct("Rope", ("step", "x", "stride", "n_head", "head_dim", "n_rot", "table"))
"""x: f32 rows of n_head * head_dim elements, `stride` bytes apart; RoPE on n_rot of each head. table: table()'s out."""

CacheParams = Struct(
    "CacheWrite",
    (
        "step", "k", "k_stride", "v", "v_stride", "n_head", "k_dim", "v_dim", "n_rot", "table",
        "k_cache", "v_cache", "n_cells",
    ),
)  # fmt: skip
"""k, v: f32 rows. k_cache: [n_seq][n_head][n_cells / 16] tiles of 16 cells; v_cache: [n_seq][n_head][n_cells] rows; see
cells.py. Position p of a sequence is its cell p % n_cells."""

# pi/2 in three parts for the reduction, and the polynomials of sine and cosine on [-pi/4, pi/4] (Cephes).
_P1, _P2, _P3 = 1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21
_TWO_OVER_PI = 0.6366197723675814
_MAGIC = 6755399441055744.0  # 1.5 * 2**52


def sine(z):
    """sin(z) for |z| <= pi/4, f64."""
    w = z * z
    y = 1.58962301576546568060e-10
    y = y * w - 2.50507477628578072866e-8
    y = y * w + 2.75573136213857245213e-6
    y = y * w - 1.98412698295895385996e-4
    y = y * w + 8.33333333332211858878e-3
    y = y * w - 1.66666666666666307295e-1
    return z + z * w * y


def cosine(z):
    """cos(z) for |z| <= pi/4, f64."""
    w = z * z
    y = -1.13585365213876817300e-11
    y = y * w + 2.08757008419747316778e-9
    y = y * w - 2.75573141792967388112e-7
    y = y * w + 2.48015872888517045348e-5
    y = y * w - 1.38888888888730564116e-3
    y = y * w + 4.16666666666665929218e-2
    return 1.0 - 0.5 * w + w * w * y


def table():
    """Angles in f64: at position 100,000 an f32 angle would be off by a hundredth."""

    def kernel(params, thread):
        p = TableParams(params)
        step = Step(p.step)
        scale = bitcast(f64, p.scale)
        row = claim(thread, 1)
        while row < step.n_rows:
            position = f64(load(i32, step.positions + 4 * row))
            fill(position, p.frequencies, p.n, scale, p.out + row * p.n * 8)
            row = claim(thread, 1)

    return kernel


def fill(position, frequencies, n, scale, out):
    """Cosines and sines of n frequencies (f64) at a position (f64), times scale."""
    for i in range(n):
        angle = position * load(f64, frequencies + 8 * i)
        rounded = angle * _TWO_OVER_PI + _MAGIC
        quarter = bitcast(i64, rounded) & 3
        whole = rounded - _MAGIC
        z = ((angle - whole * _P1) - whole * _P2) - whole * _P3
        s, c = sine(z), cosine(z)
        if quarter == 1:
            s, c = c, -s
        elif quarter == 2:
            s, c = -s, -c
        elif quarter == 3:
            s, c = -c, s
        store(out + 8 * i, f32(c * scale))
        store(out + 8 * i + 4, f32(s * scale))


def rotate_pairs(x, n_rot, table, step, apart, out):
    """Rotate n_rot elements: pair i is at i * step and i * step + apart."""
    for i in range(n_rot // 2):
        c, s = load(f32, table + 8 * i), load(f32, table + 8 * i + 4)
        a, b = load(f32, x + 4 * i * step), load(f32, x + 4 * (i * step + apart))
        store(out + 4 * i * step, f32(f32(a * c) - f32(b * s)))
        store(out + 4 * (i * step + apart), f32(f32(a * s) + f32(b * c)))


def rotator(pairing: str):
    """rotate_head(x, n_rot, table): in place."""
    adjacent = pairing == "adjacent"

    def rotate_head(x, n_rot, table):
        if adjacent:
            rotate_pairs(x, n_rot, table, 2, 1, x)
        else:
            rotate_pairs(x, n_rot, table, 1, n_rot // 2, x)

    return rotate_head


def rotate(pairing: str):
    """Threads claim heads of rows."""
    rotate_head = rotator(pairing)

    def kernel(params, thread):
        p = RotateParams(params)
        step = Step(p.step)
        unit = claim(thread, 8)
        while unit < step.n_rows * p.n_head:
            for u in range(unit, min(unit + 8, step.n_rows * p.n_head)):
                row, head = u // p.n_head, u % p.n_head
                rotate_head(p.x + row * p.stride + head * p.head_dim * 4, p.n_rot, p.table + row * p.n_rot * 4)
            unit = claim(thread, 8)

    return kernel


def cache(pairing: str, kv_type: str):
    """Rotate keys in place and store them, and values, in one of cells.KV_TYPES; threads claim heads of rows."""
    rotate_head = rotator(pairing)
    of, put = bytes_of(kv_type), putter(kv_type)

    def kernel(params, thread):
        p = CacheParams(params)
        step = Step(p.step)
        scratch = Thread(thread).scratch
        unit = claim(thread, 4)
        while unit < step.n_rows * p.n_head:
            for u in range(unit, min(unit + 4, step.n_rows * p.n_head)):
                row, head = u // p.n_head, u % p.n_head
                cell = i64(load(i32, step.positions + 4 * row)) % p.n_cells
                slot = i64(load(i32, step.seqs + 4 * row)) * p.n_head + head
                k = p.k + row * p.k_stride + head * p.k_dim * 4
                rotate_head(k, p.n_rot, p.table + row * p.n_rot * 4)
                put(k, p.k_dim, p.k_cache + (slot * p.n_cells + cell // 16 * 16) * of(p.k_dim), cell % 16, 16, scratch)
                v = p.v + row * p.v_stride + head * p.v_dim * 4
                put(v, p.v_dim, p.v_cache + (slot * p.n_cells + cell) * of(p.v_dim), 0, 1, scratch)
            unit = claim(thread, 4)

    return kernel


def putter(kv_type: str):
    """put(x, n, place, first, lanes, scratch): n floats as every lanes-th element at `place`, from the first on, as one
    of cells.KV_TYPES."""
    return {"q8_0": _put_codes, "q4_0": _put_nibbles}.get(kv_type) or _put_floats(kv_type == "f16")


def _put_floats(half: bool):
    size = 2 if half else 4

    def put(x, n, place, first, lanes, scratch):
        for i in range(n):
            v, at = load(f32, x + 4 * i), place + (first + lanes * i) * size
            if half:
                store(at, lane(to_half(splat(f32x16, v)), 0))
            else:
                store(at, v)

    return put


def _put_codes(x, n, place, first, lanes, scratch):
    """The same as Q8_0: codes, and behind all of them the scales."""
    codes = place
    if lanes != 1:
        codes = scratch
    for i in range(0, n, GROUP):
        d = f32(greatest(x + 4 * i, GROUP) / f32(127.0))
        inverse = inverse_of(d)
        store(place + n * lanes + (first + lanes * (i // GROUP)) * 2, lane(to_half(splat(f32x16, d)), 0))
        for j in range(i, i + GROUP, 16):
            store(codes + j, cast(i8x16, codes16(x + 4 * j, inverse)))
    if lanes != 1:
        for i in range(n):
            store(place + first + lanes * i, load(i8, scratch + i))


def _put_nibbles(x, n, place, first, lanes, scratch):
    """The same as Q4_0: four bytes of each lane side by side, and behind all of them the scales. In tiles they are
    keys, and turned."""
    source = x
    if lanes != 1:
        for i in range(0, n, 16):
            store(scratch + 4 * i, load(f32x16, x + 4 * i))
        turn(scratch, n, 0)
        source = scratch
    for i in range(0, n, GROUP):
        d = f32(_outermost(source + 4 * i) / f32(-8.0))
        inverse = inverse_of(f32(absolute(d)))
        if d < f32(0.0):
            inverse = f32(-inverse)
        store(place + n // 2 * lanes + (first + lanes * (i // GROUP)) * 2, lane(to_half(splat(f32x16, d)), 0))
        low, high = _nibbles(source + 4 * i, inverse), _nibbles(source + 4 * i + 64, inverse)
        words, at = bitcast(u32x4, low | (high << 4)), place + i // 2 * lanes + 4 * first
        store(at, lane(words, 0))
        store(at + 4 * lanes, lane(words, 1))
        store(at + 8 * lanes, lane(words, 2))
        store(at + 12 * lanes, lane(words, 3))


def _outermost(x):
    """The first of a group's elements that have the greatest magnitude; no finite number where one is none."""
    m = f32(greatest(x, GROUP))
    found = m
    for i in range(GROUP - 1, -1, -1):
        v = load(f32, x + 4 * i)
        if f32(absolute(v)) == m:
            found = v
    return found


def _nibbles(x, inverse):
    """Codes of 16 elements: u8x16."""
    return cast(u8x16, minimum(load(f32x16, x) * inverse + 8.5, splat(f32x16, 15.0)))

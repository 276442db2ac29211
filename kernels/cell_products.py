"""What attention does with each type of cells: products of queries with keys, and weighted sums of values.

`products` gives three functions for T queries that go together. Each query has sums of its own, so that T does not show
in the bits.
"""

from .cells import GROUP, bytes_of
from .hadamard import turn
from .quantize import codes16, greatest, inverse_of
from .simd import (
    bitcast,
    cast,
    dot2,
    dot2_u7,
    dot4_u7,
    f32,
    f32x16,
    fma,
    from_half,
    hsum,
    i8x16,
    i8x64,
    i16x32,
    i32,
    i32x16,
    load,
    prefetch,
    splat,
    splat4,
    store,
    tile_fill,
    tile_fma,
    tile_store,
    u8x16,
    u8x64,
    u16,
    u16x16,
    u32x16,
)
from .simd.targets import current

CHUNK = 256
"""Cells whose scores are computed before values are weighted; `scores` and `weights` have so many floats a query."""


def products(kv_type: str, T: int, ahead: int):
    """(ready, score, gather) over one of cells.KV_TYPES.

    ready(q, dim): T queries, f32 [T][dim], into what `score` takes, in the same place.

    score(q, dim, keys, scores, c0, c1, later, pace): scores[t, cell] = q[t] . key[cell], 16 or 32 cells at a time;
    c0 is a multiple of 32.

    gather(weights, vals, out, out_stride, dim, first, c1, later, pace): out[t] = weights[t] . values, 32 elements at a
    time, from the first cell that a row sees: others may hold NaN.

    ahead: 1 to prefetch what is needed later while they compute, so that memory is at work all the time: from `later`
    on `pace` bytes for each vector of 16."""
    return _KINDS[kv_type](kv_type, T, ahead)


def vectors_together() -> int:
    """Vectors of 16 cells, or elements, that T queries go through together: T times as many sums stay in registers. A
    sum that does not is stored and loaded again in each step, which takes as long as several multiplications."""
    return 2 if current().tile_vectors >= 3 else 1


def _as_they_are(q, dim):
    """Queries that are multiplied as f32."""


def _of_floats(kv_type: str, T: int, ahead: int):
    half = kv_type == "f16"
    size = 2 if half else 4
    V = vectors_together()
    TV = T * V

    def values(address):
        if half:
            return from_half(load(u16x16, address))
        return load(f32x16, address)

    def one(address, _):
        return (values(address),)

    def two(address, stride):
        return values(address), values(address + stride)

    vectors = two if V == 2 else one

    def score(q, dim, keys, scores, c0, c1, later, pace):
        for c in range(c0, c1, 16 * V):
            k = keys + c * dim * size
            a = tile_fill(TV, splat(f32x16, 0.0))
            for i in range(dim):
                if ahead:
                    prefetch(later + V * pace * i)
                a = tile_fma(a, q + 4 * i, dim * 4, vectors(k + 16 * size * i, 16 * size * dim))
            tile_store(scores + 4 * c, CHUNK * 4, 64, a, V)
            later += V * pace * dim

    def gather(weights, vals, out, out_stride, dim, first, c1, later, pace):
        i = 0
        while i + 16 * (V - 1) < dim:
            a = tile_fill(TV, splat(f32x16, 0.0))
            for c in range(first, c1):
                if ahead:
                    prefetch(later + V * pace * (c - first))
                a = tile_fma(a, weights + 4 * c, CHUNK * 4, vectors(vals + (c * dim + i) * size, 16 * size))
            tile_store(out + 4 * i, out_stride, 64, a, V)
            i += 16 * V
            later += V * pace * (c1 - first)
        if i < dim:
            b = tile_fill(T, splat(f32x16, 0.0))
            for c in range(first, c1):
                b = tile_fma(b, weights + 4 * c, CHUNK * 4, one(vals + (c * dim + i) * size, 0))
            tile_store(out + 4 * i, out_stride, 64, b, 1)

    return _as_they_are, score, gather


def _of_codes(kv_type: str, T: int, ahead: int):
    """The same over Q8_0: each code times its scale, as f32. Heads are whole multiples of 32 elements."""
    of = bytes_of(kv_type)
    V = vectors_together()
    TV = T * V

    def values(codes, d):
        return cast(f32x16, load(i8x16, codes)) * d

    def one_key(k, other, i, d0, d1):
        return (values(k + 16 * i, d0),)

    def two_keys(k, other, i, d0, d1):
        return values(k + 16 * i, d0), values(other + 16 * i, d1)

    def one_value(row, d):
        return (values(row, d),)

    def two_values(row, d):
        return values(row, d), values(row + 16, d)

    keys_at, values_at = (two_keys, two_values) if V == 2 else (one_key, one_value)

    def score(q, dim, keys, scores, c0, c1, later, pace):
        for c in range(c0, c1, 16 * V):
            k = keys + c * of(dim)
            other = k + 16 * (V - 1) * of(dim)
            a = tile_fill(TV, splat(f32x16, 0.0))
            for g in range(dim // GROUP):
                d0 = from_half(load(u16x16, k + 16 * dim + 32 * g))
                d1 = from_half(load(u16x16, other + 16 * dim + 32 * g))
                for i in range(GROUP * g, GROUP * g + GROUP):
                    if ahead:
                        prefetch(later + V * pace * i)
                    a = tile_fma(a, q + 4 * i, dim * 4, keys_at(k, other, i, d0, d1))
            tile_store(scores + 4 * c, CHUNK * 4, 64, a, V)
            later += V * pace * dim

    def gather(weights, vals, out, out_stride, dim, first, c1, later, pace):
        for i in range(0, dim, 16 * V):
            a = tile_fill(TV, splat(f32x16, 0.0))
            for c in range(first, c1):
                if ahead:
                    prefetch(later + V * pace * (c - first))
                row = vals + c * of(dim)
                d = from_half(splat(u16x16, load(u16, row + dim + i // GROUP * 2)))
                a = tile_fma(a, weights + 4 * c, CHUNK * 4, values_at(row + i, d))
            tile_store(out + 4 * i, out_stride, 64, a, V)
            later += V * pace * (c1 - first)

    return _as_they_are, score, gather


QUERY = 40
"""Bytes of 32 elements of a query over Q4_0: int32 -8 times the sum of the codes, int8 codes [32], f32 scale."""


def _of_nibbles(kv_type: str, T: int, ahead: int):
    """Over Q4_0: queries become int8 with a scale a group of 32, as activations do (llama.cpp's CPU likewise), so that
    a group's product with 16 keys is one of integers: four elements a lane at a time, where f32 takes one. Values are
    made floats again, as in Q8_0."""
    of = bytes_of(kv_type)
    V, T2 = vectors_together(), 2 * T
    sums = _sums_by_pairs if current().adds_pairs else _sums_by_fours

    def ready(q, dim):
        for t in range(T):
            turn(q + 4 * dim * t, dim, 1)
            for g in range(dim // GROUP):
                x, out = q + 4 * dim * t + 128 * g, q + 4 * dim * t + QUERY * g
                d = f32(greatest(x, GROUP) / f32(127.0))
                inverse = inverse_of(d)
                # What is written ends before what has not been read.
                low = codes16(x, inverse)
                high = codes16(x + 64, inverse)
                store(out, i32(i32(hsum(low + high)) * i32(-8)))
                store(out + 4, cast(i8x16, low))
                store(out + 20, cast(i8x16, high))
                store(out + 36, d)

    def score(q, dim, keys, scores, c0, c1, later, pace):
        for c in range(c0, c1, 16):
            k = keys + c * of(dim)
            for t in range(T):
                store(scores + (t * CHUNK + c) * 4, splat(f32x16, 0.0))
            for g in range(dim // GROUP):
                if ahead:
                    for i in range(0, GROUP * pace, 64):
                        prefetch(later + i)
                    later += GROUP * pace
                d = from_half(load(u16x16, k + 8 * dim + 32 * g))
                a0, b0 = _two(load(u32x16, k + 256 * g))
                a1, b1 = _two(load(u32x16, k + 256 * g + 64))
                a2, b2 = _two(load(u32x16, k + 256 * g + 128))
                a3, b3 = _two(load(u32x16, k + 256 * g + 192))
                for t in range(T):
                    w, at = q + 4 * dim * t + QUERY * g, scores + (t * CHUNK + c) * 4
                    n = sums(w, a0, a1, a2, a3, b0, b1, b2, b3)
                    store(at, fma(cast(f32x16, n), d * load(f32, w + 36), load(f32x16, at)))

    def scale(row, dim, i):
        return from_half(splat(u16x16, load(u16, row + dim // 2 + i // 16)))

    def gather(weights, vals, out, out_stride, dim, first, c1, later, pace):
        for i in range(0, dim, GROUP):
            a = tile_fill(T2, splat(f32x16, 0.0))
            for c in range(first, c1):
                if ahead:
                    prefetch(later + 2 * pace * (c - first))
                row = vals + c * of(dim)
                d = scale(row, dim, i)
                low, high = nibbles(row + i // 2)
                a = tile_fma(a, weights + 4 * c, CHUNK * 4, (low * d, high * d))
            tile_store(out + 4 * i, out_stride, 64, a, 2)
            later += 2 * pace * (c1 - first)

    def gather_halves(weights, vals, out, out_stride, dim, first, c1, later, pace):
        """Low nibbles, and then high ones."""
        for i in range(0, dim, GROUP):
            a = tile_fill(T, splat(f32x16, 0.0))
            for c in range(first, c1):
                if ahead:
                    prefetch(later + 2 * pace * (c - first))
                row = vals + c * of(dim)
                low, _ = nibbles(row + i // 2)
                a = tile_fma(a, weights + 4 * c, CHUNK * 4, (low * scale(row, dim, i),))
            tile_store(out + 4 * i, out_stride, 64, a, 1)
            a = tile_fill(T, splat(f32x16, 0.0))
            for c in range(first, c1):
                row = vals + c * of(dim)
                _, high = nibbles(row + i // 2)
                a = tile_fma(a, weights + 4 * c, CHUNK * 4, (high * scale(row, dim, i),))
            tile_store(out + 4 * i + 64, out_stride, 64, a, 1)
            later += 2 * pace * (c1 - first)

    return ready, score, gather if V == 2 else gather_halves


def nibbles(address):
    """Elements 0-15 and 16-31 of the 16 bytes of a group of Q4_0, without their scale: f32x16 each."""
    v = load(u8x16, address)
    return _centred(v & 15), _centred(v >> 4)


def _centred(codes):
    return cast(f32x16, bitcast(i8x16, codes) - 8)


def _two(v):
    """Low and high nibbles of each byte: u8x64 each."""
    return bitcast(u8x64, v & 0x0F0F0F0F), bitcast(u8x64, (v >> 4) & 0x0F0F0F0F)


def _of_query(address):
    return bitcast(i8x64, splat4(address))


def _sums_by_fours(w, a0, a1, a2, a3, b0, b1, b2, b3):
    """Of 16 keys' 32 codes, less 8, times a query's at w, see QUERY: i32x16. Keys are lanes, four elements in each."""
    n = dot4_u7(splat(i32x16, load(i32, w)), a0, _of_query(w + 4))
    n = dot4_u7(n, a1, _of_query(w + 8))
    n = dot4_u7(n, a2, _of_query(w + 12))
    n = dot4_u7(n, a3, _of_query(w + 16))
    n = dot4_u7(n, b0, _of_query(w + 20))
    n = dot4_u7(n, b1, _of_query(w + 24))
    n = dot4_u7(n, b2, _of_query(w + 28))
    return dot4_u7(n, b3, _of_query(w + 32))


def _sums_by_pairs(w, a0, a1, a2, a3, b0, b1, b2, b3):
    """The same where bytes are multiplied by pairs: 16 products of at most 15 * 128 add up in 16 bits."""
    n = dot2_u7(a0, _of_query(w + 4)) + dot2_u7(a1, _of_query(w + 8))
    n = n + dot2_u7(a2, _of_query(w + 12)) + dot2_u7(a3, _of_query(w + 16))
    n = n + dot2_u7(b0, _of_query(w + 20)) + dot2_u7(b1, _of_query(w + 24))
    n = n + dot2_u7(b2, _of_query(w + 28)) + dot2_u7(b3, _of_query(w + 32))
    return dot2(splat(i32x16, load(i32, w)), n, splat(i16x32, 1))


_KINDS = {"f16": _of_floats, "f32": _of_floats, "q8_0": _of_codes, "q4_0": _of_nibbles}

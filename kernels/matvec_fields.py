"""Four blocks of each of four rows, for formats whose blocks are 16 bytes of fields after a scale.

Field n of byte j is element F * j + n of its block, F fields a byte. A quarter of 128 bits is a block: shifted and
masked, it gives every F-th element; the activations are arranged so, once for all rows of weights. Four bytes that are
neighbours belong to the same 32 elements: a lane's sum of products over all fields is that of 32 (F = 8) or of half of
them (F = 4). So nothing is moved but sums.
"""

from .formats.bits import join16
from .lanes import EVENS, ODDS, QUARTERS, pairs16, starter, zip4x4
from .matvec_nibbles import scales_of
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
    f32x16,
    fma,
    i8x32,
    i8x64,
    i16x32,
    i32x16,
    load,
    prefetch,
    shuffle,
    splat,
    store,
    u8x16,
    u32x16,
)
from .simd.targets import current

_QS = 2
_QUARTER0, _QUARTER1, _QUARTER2, _QUARTER3 = QUARTERS
_EVEN, _ODD = Lanes(tuple(range(0, 32, 2))), Lanes(tuple(range(1, 32, 2)))


def step(fmt):
    """four(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at, acc): acc plus four blocks at each address times activations; x
    and x_s are what `arrangement` has made of them.

    fmt: `field(qs, n)` gives the codes in field n of each byte of a u32x16: u8x64.
    """
    size = fmt.BYTES
    dots, scales, add = _dots(fmt), scales_of(fmt), _ADDS[fmt.PER]

    def row(w, x, begin):
        at = w + _QS
        qs = join16(at, at + size, at + 2 * size, at + 3 * size)
        return dots(begin, bitcast(u32x16, qs), x)

    def heads(w):
        return bitcast(u32x16, join16(w, w + size, w + 2 * size, w + 3 * size))

    def four(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at, acc):
        for line in range(0, 16 * size, 64):
            prefetch(prefetch_at + line)
        xa, xb, xc, xe = apart(k, x)
        begin = load(i32x16, x_s)
        ta, tb, tc, td = row(wa, xa, begin), row(wb, xb, begin), row(wc, xc, begin), row(wd, xe, begin)
        d, _ = scales(heads(wa), heads(wb), heads(wc), heads(wd))
        return add(acc, ta, tb, tc, td, d, x_d)

    return four


def _dots(fmt):
    """dots(acc, qs, x): acc plus the products of all fields of qs with their activations from x on, in fours."""
    field, fields = fmt.field, 2 * fmt.PER

    def dots(acc, qs, x):
        for n in range(fields):
            acc = dot4_u7(acc, field(qs, n), load(i8x64, x + 64 * n))
        return acc

    def dots_by_pairs(acc, qs, x):
        total = splat(i16x32, 0)
        for n in range(fields):
            total = total + dot2_u7(field(qs, n), load(i8x64, x + 64 * n))
        return dot2(acc, total, splat(i16x32, 1))

    return dots_by_pairs if current().adds_pairs else dots


def _add_twos(acc, ta, tb, tc, td, d, x_d):
    """Blocks of two 32s, whose sums are in two lanes: the order in which matmul adds."""
    ab, cd = pairs16(ta, tb), pairs16(tc, td)
    u, v = cast(f32x16, shuffle(EVENS, ab, cd)) * d, cast(f32x16, shuffle(ODDS, ab, cd)) * d
    acc = _two(acc, _QUARTER0, u, v, x_d)
    acc = _two(acc, _QUARTER1, u, v, x_d + 8)
    acc = _two(acc, _QUARTER2, u, v, x_d + 16)
    return _two(acc, _QUARTER3, u, v, x_d + 24)


def _two(acc, lanes, u, v, d):
    acc = fma(shuffle(lanes, u, u), splat(f32x4, load(f32, d)), acc)
    return fma(shuffle(lanes, v, v), splat(f32x4, load(f32, d + 4)), acc)


def _add_fours(acc, ta, tb, tc, td, d, x_d):
    """Blocks of four 32s, a lane each."""
    t0, t1, t2, t3 = zip4x4(ta, tb, tc, td)
    t, u, v, w = cast(f32x16, t0) * d, cast(f32x16, t1) * d, cast(f32x16, t2) * d, cast(f32x16, t3) * d
    acc = _two(_two(acc, _QUARTER0, t, u, x_d), _QUARTER0, v, w, x_d + 8)
    acc = _two(_two(acc, _QUARTER1, t, u, x_d + 16), _QUARTER1, v, w, x_d + 24)
    acc = _two(_two(acc, _QUARTER2, t, u, x_d + 32), _QUARTER2, v, w, x_d + 40)
    return _two(_two(acc, _QUARTER3, t, u, x_d + 48), _QUARTER3, v, w, x_d + 56)


_ADDS = {2: _add_twos, 4: _add_fours}


def arrangement(fmt):
    """arrange(k, x, x_s, y), see matvec.arrangement: of four blocks the activations of field 0, block by block, then
    those of field 1, ... Behind all of them stands what the offset of the codes takes off, i32x16 of each four blocks,
    in the lanes of the products. What is left of a row stays as it is."""
    per, start, spread = fmt.PER, starter(fmt), _SPREADS[fmt.PER]
    block, taken = 32 * per, 128 * per

    def arrange(k, x, x_s, y):
        whole = k // taken * taken
        for i in range(0, whole, taken):
            at, begin = y + i, splat(i32x16, 0)
            for q in range(4):
                spread(x + i + block * q, at + 16 * q)
            for n in range(2 * per):
                begin = begin + start(load(i8x64, at + 64 * n))
            store(y + k + i // taken * 64, begin)
        for i in range(whole, k, 32):
            store(y + i, load(i8x32, x + i))

    return arrange


def _spread4(x, y):
    """Bytes n of every four, 64 bytes apart."""
    _four_bytes(load(u32x16, x), y)


def _spread8(x, y):
    """Bytes n of every eight."""
    v, w = load(u32x16, x), load(u32x16, x + 64)
    _four_bytes(shuffle(_EVEN, v, w), y)
    _four_bytes(shuffle(_ODD, v, w), y + 256)


def _four_bytes(v, y):
    store(y, cast(u8x16, v))
    store(y + 64, cast(u8x16, v >> 8))
    store(y + 128, cast(u8x16, v >> 16))
    store(y + 192, cast(u8x16, v >> 24))


_SPREADS = {2: _spread4, 4: _spread8}

"""Four rows of super-blocks whose elements stand in a grid, times a vector.

Grid entries are looked up one by one. A compiler that sees the four runs of 64 elements of four rows at once looks up
entries long before they are used, and keeps them on the stack. So here is a loop over runs, whose number the compiler
does not know. What is decoded for all runs of a super-block together goes through memory: one load brings a run's part
into every place of a vector, or the number of an entry into a scalar.
"""

from .formats import optional
from .formats.bits import eight_copies
from .lanes import LOWER8, UPPER8, sums8
from .simd import (
    Lanes,
    bitcast,
    cast,
    dot2,
    dot2_u7,
    f32,
    f32x4,
    fma,
    i8x64,
    i16x16,
    i16x32,
    i32x8,
    i32x16,
    load,
    make4,
    mask64,
    pick16,
    prefetch,
    room,
    select,
    shuffle,
    splat,
    store,
    u64,
)

# Four numbers of 16 bits: one for each quarter of 64 elements.
_OF_QUARTERS = Lanes(tuple(2 * q + b for q in range(4) for _ in range(8) for b in (0, 1)))
_SIGNS, _SCALES, _NUMBERS, _ROW = 0, 32, 64, 192
"""Where what is decoded of a row's super-block stands: signs, u64 [4]; scales, i16 [16]; what the format puts there."""
_ROOM = 4 * _ROW


def four_rows(fmt):
    """See matvec.

    Of a super-block at p the format gives `entries(p, y, run)`, 64 elements without their signs, u8x64, and either
    `signs(p)`, a bit for each of 256 elements, u32x8, or `offsets(p)`, what is added to the entries of each 16
    elements, i16x16. `put_numbers(p, y)`, which may be missing, puts into 128 bytes at y what `entries` takes from
    there.
    """
    entries, scales, d, size = fmt.entries, fmt.scales, fmt.d, fmt.BYTES
    put = optional(fmt, "put_numbers") or _put_nothing
    prepare, given = _signs(fmt) if optional(fmt, "signs") else _offsets(fmt)

    def begin(p, y, sums):
        """Decodes; what the sum of products begins with: i32x8."""
        sc = scales(p)
        store(y + _SCALES, sc)
        put(p, y + _NUMBERS)
        return prepare(p, y, sc, sums)

    def plus(t, p, y, run, x):
        """t plus 64 elements times activations."""
        s = pick16(_OF_QUARTERS, eight_copies(y + _SCALES + 8 * run))
        v = dot2_u7(entries(p, y + _NUMBERS, run), given(x, y, run))
        v = dot2(splat(i32x16, 0), v, bitcast(i16x32, s))
        return t + (shuffle(LOWER8, v, v) + shuffle(UPPER8, v, v))

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        # k & 8 is 0, which LLVM does not know.
        acc, y, n_runs = splat(f32x4, 0.0), room(_ROOM), 4 + (k & 8)
        for i in range(k // 256):
            q, at = x + 256 * i, i * size
            a, b, c, e = wa + at, wb + at, wc + at, wd + at
            for line in range(0, 4 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            sums = load(i16x16, x_s + 32 * i)
            ta, tb = begin(a, y, sums), begin(b, y + _ROW, sums)
            tc, te = begin(c, y + 2 * _ROW, sums), begin(e, y + 3 * _ROW, sums)
            for run in range(n_runs):
                v = load(i8x64, q + 64 * run)
                ta, tb = plus(ta, a, y, run, v), plus(tb, b, y + _ROW, run, v)
                tc, te = plus(tc, c, y + 2 * _ROW, run, v), plus(te, e, y + 3 * _ROW, run, v)
            factors = make4(f32x4, d(a), d(b), d(c), d(e)) * load(f32, x_d + 4 * i)
            acc = fma(cast(f32x4, sums8(ta, tb, tc, te)), factors, acc)
        return acc

    return products


def _signs(fmt):
    """Activations are given the signs of elements."""
    signs = fmt.signs

    def prepare(p, y, sc, sums):
        store(y + _SIGNS, signs(p))
        return splat(i32x8, 0)

    def given(x, y, run):
        return select(mask64(load(u64, y + _SIGNS + 8 * run)), splat(i8x64, 0) - x, x)

    return prepare, given


def _offsets(fmt):
    """Sums of activations take off what entries have too much."""
    offsets = fmt.offsets

    def prepare(p, y, sc, sums):
        return dot2(splat(i32x8, 0), sc * offsets(p), sums)

    def given(x, y, run):
        return x

    return prepare, given


def _put_nothing(p, y):
    pass

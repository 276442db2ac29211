"""Super-blocks of 256 elements with grid entries and integer scales a group: the `encode` of the I-formats of a grid.

First each group's scale is estimated as if every entry were allowed, which gives the super-block's d. Then the nearest
entries for a few integer scales around the estimate are compared, group by group; d becomes the best one for what was
chosen, and this is repeated with it.

Without an importance vector all elements count the same. llama.cpp weighs them by their squares in most of these
formats: with a search as close as this one that made IQ3_S eight times worse (KL divergence of SmolLM2-135M).
"""

from ..formats.grids import eight_entries
from ..simd import (
    Lanes,
    absolute,
    bitcast,
    cast,
    f32,
    f32x16,
    gather4,
    hmax,
    hsum,
    i64,
    lane,
    less,
    load,
    maximum,
    minimum,
    select,
    shuffle,
    splat,
    store,
    u8,
    u16,
    u32,
    u32x8,
    u32x16,
    u64,
)
from ..simd.types import Vec
from . import points
from .across import add, greater, over
from .grid import ROWS, copy, halves, least, number
from .grid_layout import (
    BASE,
    BEST,
    BIG,
    CHOSEN,
    DELTAS,
    ERRORS,
    LEVELS,
    LOWER,
    MERGED,
    NUMBERS,
    OTHER,
    PICKS,
    RUNS,
    SCALES,
    SIGNS,
    TRIED,
    UPPER,
    WORK,
    Grid,
    W,
    X,
)
from .grid_signs import preparation
from .lanes import clamped, half, inverse, power_of
from .levels import chain, middles

_LOW, _HIGH, _JOIN = Lanes(tuple(range(8))), Lanes(tuple(range(8, 16))), Lanes(tuple(range(16)))
_u64x8 = Vec(u64, 8)


def encoder(g: Grid, pack):
    """encode of a format. pack(scratch, d, out): writes a super-block but for its d, and d's bits where they belong."""
    read_runs = copy(points.runs(g.name), -(-(points.STARTS + 2 * g.entries) // 64) * 64)
    prepare, estimate, attempt, refit = preparation(g), _estimate(g), _ATTEMPT[g.shared](g), _refit(g)
    factor, most, size = g.factor, 2.0 * g.top + 1.0, g.size
    begin, again, tries = _begin(g), _again(g), g.tries

    def one(x, w, out, scratch):
        top = splat(f32x16, 0.0)
        for i in range(0, 1024, 64):
            top = maximum(absolute(load(f32x16, x + i)), top)
        power = lane(power_of(splat(f32x16, hmax(top))), 0)
        if hmax(top) > f32(0.0):
            prepare(x, w, f32(f32(1.0) / power), scratch)
            to_d = f32(power / f32(factor))
            bits, d = half(splat(f32x16, estimate(scratch)) * (1.0 / most) * to_d)
            unit = d / to_d
            begin(unit, scratch)
            # Loops, so that the search is compiled once: it is long.
            for round_ in range(2):
                for i in range(tries if round_ else 3):
                    attempt(unit, shift(i), scratch)
                bits, d = half(splat(f32x16, refit(scratch)) * to_d)
                unit = d / to_d
                again(scratch)
            if lane(absolute(d), 0) > f32(0.0):
                pack(scratch, lane(bits, 0), out)
                return
        for i in range(0, size, 2):
            store(out + i, u16(0))

    def encode(x, w, out, n, scratch):
        read_runs(scratch + RUNS)
        for b in range(n):
            one(x + 1024 * b, w + 1024 * b, out + size * b, scratch)

    return encode


def _estimate(g):
    """f(scratch): scales of all groups as if every level were allowed everywhere, kept; the greatest one."""
    elements, vectors = g.elements, 16 // g.elements
    level_of = chain(middles(g.levels), g.levels)
    total, greatest, fits = over(g.group, add), over(g.group, greater), g.fits

    def estimate(scratch):
        most = splat(f32x16, 0.0)
        for v in range(vectors):
            x, w = scratch + X + 1024 * v, scratch + W + 1024 * v
            top = splat(f32x16, 0.0)
            for j in range(elements):
                top = maximum(absolute(load(f32x16, x + 64 * j)), top)
            top = inverse(greatest(top))
            best, scale = splat(f32x16, 0.0), splat(f32x16, 0.0)
            for fit in fits:
                one = top * fit
                xl, ll = splat(f32x16, 0.0), splat(f32x16, 0.0)
                for j in range(elements):
                    a = load(f32x16, x + 64 * j)
                    level = level_of(a * one)
                    weighted = level * load(f32x16, w + 64 * j)
                    xl, ll = xl + weighted * a, ll + weighted * level
                xl = total(xl)
                found = xl * inverse(total(ll))
                better = less(best * 1.0001, found * xl)
                best, scale = select(better, found * xl, best), select(better, found, scale)
            scale = maximum(scale, splat(f32x16, 0.0))
            store(scratch + BASE + 64 * v, scale)
            most = maximum(scale, most)
        return hmax(most)

    return estimate


def _begin(g):
    """Of each group, the l nearest to its estimated scale."""
    vectors, top = 16 // g.elements, float(g.top)

    def begin(unit, scratch):
        for v in range(vectors):
            nearest = (load(f32x16, scratch + BASE + 64 * v) * inverse(unit) - 1.0) * 0.5
            store(scratch + BASE + 64 * v, clamped(nearest, 0.0, top))
            # An entry there must be, even where no error is less than another: elements may be NaN.
            store(scratch + CHOSEN + 64 * v, splat(u32x16, 0))
            store(scratch + BEST + 64 * v, splat(f32x16, BIG))

    return begin


def _again(g):
    vectors = 16 // g.elements

    def again(scratch):
        for v in range(vectors):
            store(scratch + BASE + 64 * v, load(f32x16, scratch + SCALES + 64 * v))
            store(scratch + BEST + 64 * v, splat(f32x16, BIG))

    return again


def shift(i):
    """What is added to the l that stands, try after try: 0, -1, 1."""
    if i == 0:
        return f32(0.0)
    if i == 1:
        return f32(-1.0)
    return f32(1.0)


def _shared(g):
    """attempt(unit, shift, scratch): keeps what is better of all groups for scales (2 * l + 1) * unit.

    A group has one delta.
    """
    search, commit, delta, vectors = _search(g), _commit(g), g.delta, 16 // g.elements
    sides = 2 if delta else 1

    def attempt(unit, shift, scratch):
        side = f32(delta)
        for _ in range(sides):
            search(unit, shift, side, scratch, scratch + ERRORS, scratch + PICKS)
            for v in range(vectors):
                store(scratch + MERGED + 64 * v, splat(f32x16, side))
            commit(scratch)
            side = f32(f32(0.0) - side)

    return attempt


def _apart(g):
    """The same where each entry has a delta of its own."""
    search, commit, delta, vectors = _search(g), _commit(g), g.delta, 16 // g.elements

    def attempt(unit, shift, scratch):
        side = f32(delta)
        for other in range(0, 2 * OTHER, OTHER):
            search(unit, shift, side, scratch, scratch + ERRORS + other, scratch + PICKS + other)
            side = f32(f32(0.0) - side)
        for at in range(scratch, scratch + 64 * vectors, 64):
            error, other_error = load(f32x16, at + ERRORS), load(f32x16, at + ERRORS + OTHER)
            better = less(other_error, error)
            store(at + ERRORS, select(better, other_error, error))
            store(at + PICKS, select(better, load(u32x16, at + PICKS + OTHER), load(u32x16, at + PICKS)))
            store(at + MERGED, select(better, splat(f32x16, -delta), splat(f32x16, delta)))
        commit(scratch)

    return attempt


_ATTEMPT = {True: _shared, False: _apart}


def _search(g):
    vectors, half_, top = 16 // g.elements, g.elements // 2, float(g.top)
    build, n = halves(g.levels, half_), len(g.levels) ** half_
    find = least(n)

    def search(unit, shift, delta, scratch, errors, picks):
        for v in range(vectors):
            tried = load(f32x16, scratch + BASE + 64 * v) + shift
            tried = minimum(maximum(tried, splat(f32x16, 0.0)), splat(f32x16, top))
            store(scratch + TRIED + 64 * v, tried)
            scale = (tried + tried + 1.0) * unit
            offset, x, w = scale * delta, scratch + X + 1024 * v, scratch + W + 1024 * v
            lower = scratch + LOWER + ROWS * v
            build(x, w, scale, offset, scratch + WORK, lower)
            number(lower, n)
            build(x + 64 * half_, w + 64 * half_, scale, offset, scratch + WORK, scratch + UPPER + ROWS * v)
        for v in range(0, vectors, 2):
            at = ROWS * v
            runs = scratch + RUNS
            find(runs, scratch + LOWER + at, scratch + UPPER + at, ROWS, errors + 64 * v, picks + 64 * v)

    return search


def _commit(g):
    """Keep what was tried, in groups where it is better."""
    vectors, total = 16 // g.elements, over(g.group, add)

    def keep(better, tried, kept):
        store(kept, select(better, load(u32x16, tried), load(u32x16, kept)))

    def commit(scratch):
        for at in range(0, 64 * vectors, 64):
            error, best = total(load(f32x16, scratch + ERRORS + at)), load(f32x16, scratch + BEST + at)
            better = less(error, best)
            store(scratch + BEST + at, select(better, error, best))
            keep(better, scratch + PICKS + at, scratch + CHOSEN + at)
            keep(better, scratch + TRIED + at, scratch + SCALES + at)
            keep(better, scratch + MERGED + at, scratch + DELTAS + at)

    return commit


def _refit(g):
    """f(scratch): the numbers of the chosen entries, kept; the unit that is best for all that was chosen."""
    elements, vectors, step, base = g.elements, 16 // g.elements, g.step, g.base
    numbers, read = points.numbers(g.name), _READ[g.elements](g.table)

    def refit(scratch):
        xl, ll = splat(f32x16, 0.0), splat(f32x16, 0.0)
        for v in range(vectors):
            entries = bitcast(u32x16, sixteen(numbers, load(u32x16, scratch + CHOSEN + 64 * v)))
            store(scratch + NUMBERS + 64 * v, entries)
            read(entries, scratch + LEVELS)
            scale, delta = load(f32x16, scratch + SCALES + 64 * v), load(f32x16, scratch + DELTAS + 64 * v)
            scale = scale + scale + 1.0
            x, w = scratch + X + 1024 * v, scratch + W + 1024 * v
            for j in range(elements):
                level = scale * (load(f32x16, scratch + LEVELS + 64 * j) * step + base + delta)
                weighted = level * load(f32x16, w + 64 * j)
                xl, ll = xl + weighted * load(f32x16, x + 64 * j), ll + weighted * level
        return lane(splat(f32x16, hsum(xl)) * inverse(splat(f32x16, hsum(ll))), 0)

    return refit


def sixteen(table, v):
    """Entries of four bytes, picked by the lanes of a u32x16: u8x64."""
    return gather4(
        table, lane(v, 0), lane(v, 1), lane(v, 2), lane(v, 3), lane(v, 4), lane(v, 5), lane(v, 6), lane(v, 7),
        lane(v, 8), lane(v, 9), lane(v, 10), lane(v, 11), lane(v, 12), lane(v, 13), lane(v, 14), lane(v, 15),
    )  # fmt: skip


def _eights(table):
    """read(entries, out): the bytes of sixteen entries of the grid, side by side: f32 [8][16]."""

    def read(entries, out):
        low = bitcast(_u64x8, eight_entries(table, shuffle(_LOW, entries, entries)))
        high = bitcast(_u64x8, eight_entries(table, shuffle(_HIGH, entries, entries)))
        for j in range(8):
            a, b = cast(u32x8, low >> (8 * j)) & 255, cast(u32x8, high >> (8 * j)) & 255
            store(out + 64 * j, cast(f32x16, shuffle(_JOIN, a, b)))

    return read


def _fours(table):
    """The same of entries of four bytes: f32 [4][16]."""

    def read(entries, out):
        v = bitcast(u32x16, sixteen(table, entries))
        for j in range(4):
            store(out + 64 * j, cast(f32x16, (v >> (8 * j)) & 255))

    return read


_READ = {8: _eights, 4: _fours}


def store_nibbles(scratch, entries, groups, out):
    """The l of all groups of so many entries, two a byte."""
    for i in range(groups // 2):
        at = scratch + SCALES + 8 * entries * i
        store(out + i, u8(i64(load(f32, at)) | (i64(load(f32, at + 4 * entries)) << 4)))


def signs_and_scale(scratch, group, elements):
    """Of 32 elements four times seven signs and, above them, l: u32. elements: of an entry, 8 or 4."""
    bits = u32(u32(i64(load(f32, scratch + SCALES + 128 // elements * group))) << u32(28))
    for i in range(4):
        if elements == 8:
            signs = load(u32, scratch + SIGNS + 16 * group + 4 * i)
        else:
            at = scratch + SIGNS + 32 * group + 8 * i
            signs = u32(load(u32, at) | (load(u32, at + 4) << u32(4)))
        bits = u32(bits | ((signs & u32(127)) << u32(7 * i)))
    return bits

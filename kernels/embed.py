"""Embedding rows: the dequantized rows of a matrix that the batch's tokens name.

Exact: each element is what the `gguf` package's quants.py computes, before the factor.
"""

from . import formats
from .simd import (
    Lanes,
    Struct,
    bitcast,
    cast,
    f32,
    f32x16,
    f64,
    i32,
    i64,
    lane,
    load,
    shuffle,
    splat,
    store,
)
from .thread import Step, Thread, claim

Params = Struct("Embed", ("step", "table", "row_bytes", "k", "out", "factor"))
"""table: [n_vocab] rows of k elements; out: f32 [n_rows, k]; factor: multiplies every element (bits of f64)."""

PickedParams = Struct("EmbedPicked", ("n_rows_at", "n", "rows", "table", "row_bytes", "k", "out"))
"""rows: i32 [n_rows][n], numbers of the table's rows; out: f32 [n_rows][n][k]."""

_QUARTERS = tuple(Lanes(tuple(range(16 * i, 16 * i + 16))) for i in range(4))
_Q0, _Q1, _Q2, _Q3 = _QUARTERS


def rows(fmt: str):
    """The kernel for a table in this format."""
    fill = _ROW[formats.module(fmt).KIND](formats.module(fmt))

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        row = claim(thread, 1)
        while row < step.n_rows:
            token = i64(load(i32, step.tokens + 4 * row))
            fill(p.table + token * p.row_bytes, p.k, p.out + row * p.k * 4, f32(bitcast(f64, p.factor)))
            row = claim(thread, 1)

    return kernel


def picked(fmt: str):
    """Rows that something else has chosen, n for each row of the batch."""
    fill = _ROW[formats.module(fmt).KIND](formats.module(fmt))

    def kernel(params, thread):
        p = PickedParams(params)
        n = load(i64, p.n_rows_at) * p.n
        unit = claim(thread, 1)
        while unit < n:
            row = i64(load(i32, p.rows + 4 * unit))
            fill(p.table + row * p.row_bytes, p.k, p.out + unit * p.k * 4, f32(1.0))
            unit = claim(thread, 1)

    return kernel


def positions(fmt: str):
    """Add the row of each token's position: out is the sum of what it holds and of that. Params: as for `rows`."""
    return _adding(fmt, True)


def first(fmt: str):
    """Add the table's first row to every row of out. Params: as for `rows`."""
    return _adding(fmt, False)


def _adding(fmt, by_position):
    fill = _ROW[formats.module(fmt).KIND](formats.module(fmt))

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        made = Thread(thread).scratch
        row = claim(thread, 1)
        while row < step.n_rows:
            place = i64(0)
            if by_position:
                place = i64(load(i32, step.positions + 4 * row))
            fill(p.table + place * p.row_bytes, p.k, made, f32(bitcast(f64, p.factor)))
            out, whole = p.out + row * p.k * 4, p.k // 16 * 16
            for i in range(0, whole, 16):
                store(out + 4 * i, load(f32x16, out + 4 * i) + load(f32x16, made + 4 * i))
            for i in range(whole, p.k):
                store(out + 4 * i, f32(load(f32, out + 4 * i) + load(f32, made + 4 * i)))
            row = claim(thread, 1)

    return kernel


def row(fmt: str):
    """fill(address of a row, k, out, factor): one row dequantized to f32; also the unpacking of float formats."""
    return _ROW[formats.module(fmt).KIND](formats.module(fmt))


def _float(fmt):
    values, value, size = fmt.values, fmt.value, fmt.SIZE

    def fill(w, k, out, factor):
        whole = k // 16 * 16
        for i in range(0, whole, 16):
            store(out + 4 * i, values(w + i * size) * splat(f32x16, factor))
        for i in range(whole, k):
            store(out + 4 * i, f32(value(w + i * size) * factor))

    return fill


def _block32(fmt):
    if formats.optional(fmt, "SCALES") > 1:
        return _block16(fmt)
    codes, block = formats.in_32s(fmt)
    scale, minimum, offset, has_min = fmt.scale, fmt.minimum, fmt.OFFSET, fmt.HAS_MIN

    def fill(w, k, out, factor):
        for i in range(k // 32):
            p, c = block(w, i), codes(w, i, i)
            d, m, f = splat(f32x16, scale(p)), splat(f32x16, minimum(p)), splat(f32x16, factor)
            low = cast(f32x16, shuffle(_Q0, c, c)) - float(offset)
            high = cast(f32x16, shuffle(_Q1, c, c)) - float(offset)
            if has_min:
                store(out + 128 * i, (low * d + m) * f)
                store(out + 128 * i + 64, (high * d + m) * f)
            else:
                store(out + 128 * i, low * d * f)
                store(out + 128 * i + 64, high * d * f)

    return fill


def _block16(fmt):
    codes, block = formats.in_32s(fmt)
    scale, offset = fmt.scale, fmt.OFFSET

    def fill(w, k, out, factor):
        for i in range(k // 32):
            p, c = block(w, i), codes(w, i, i)
            low = cast(f32x16, shuffle(_Q0, c, c)) - float(offset)
            high = cast(f32x16, shuffle(_Q1, c, c)) - float(offset)
            store(out + 128 * i, low * scale(p, i & 1, 0) * factor)
            store(out + 128 * i + 64, high * scale(p, i & 1, 1) * factor)

    return fill


def _super(fmt):
    codes, scales, minimums, d, dmin = fmt.codes, fmt.scales, fmt.minimums, fmt.d, fmt.dmin
    size, offset, has_min = fmt.BYTES, fmt.OFFSET, fmt.HAS_MIN

    def group(out, c, scale, minimum, factor):
        q = (cast(f32x16, c) - float(offset)) * scale
        if has_min:
            q = q - splat(f32x16, minimum)
        store(out, q * factor)

    def fill(w, k, out, factor):
        for s in range(k // 256):
            p = w + s * size
            sc, mn = cast(f32x16, scales(p)) * d(p), cast(f32x16, minimums(p)) * dmin(p)
            for run in range(4):
                place, g = out + 1024 * s + 256 * run, 4 * run
                c = codes(p, run)
                group(place, shuffle(_Q0, c, c), lane(sc, g), lane(mn, g), factor)
                group(place + 64, shuffle(_Q1, c, c), lane(sc, g + 1), lane(mn, g + 1), factor)
                group(place + 128, shuffle(_Q2, c, c), lane(sc, g + 2), lane(mn, g + 2), factor)
                group(place + 192, shuffle(_Q3, c, c), lane(sc, g + 3), lane(mn, g + 3), factor)

    return fill


_ROW = {"float": _float, "block32": _block32, "super": _super}

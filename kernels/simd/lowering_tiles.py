"""What the operations on register tiles become in LLVM: tuples of R rows x V vectors, row-major.

See `lowering` for the form; this file completes its table, LOWERINGS.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .lowering import lowering, nothing, same, splat_i32
from .numba_types import llvm_type, named_type, numba_type, splat_value
from .types import f32x16, i16x32, u8x64


def _tile(vec, n: int):
    return types.UniTuple(vec, n)


def _unpack(e, value, n: int):
    return [e.builder.extract_value(value, i) for i in range(n)]


def _pack(e, vectors):
    return cgutils.pack_array(e.builder, vectors)


@lowering(lambda n, v: _tile(v, n.literal_value))
def tile_fill(e, args, vals):
    return _pack(e, [vals[1]] * args[0].literal_value)


@lowering(lambda tile, i: tile.dtype)
def tile_get(e, args, vals):
    return e.builder.extract_value(vals[0], args[1].literal_value)


@lowering(
    lambda type_, address, n_rows, row_stride, n, stride: _tile(
        named_type(type_), n_rows.literal_value * n.literal_value
    )
)
def tile_load(e, args, vals):
    vec, n_rows, n = llvm_type(named_type(args[0])), args[2].literal_value, args[4].literal_value
    rows = e.rows(vals[1], vals[3], n_rows)
    return _pack(e, [e.load(vec, place) for row in rows for place in e.rows(row, vals[5], n)])


@lowering(nothing)
def tile_store(e, args, vals):
    n = args[4].literal_value
    vectors = iter(_unpack(e, vals[3], args[3].count))
    for row in e.rows(vals[0], vals[1], args[3].count // n):
        for place in e.rows(row, vals[2], n):
            e.store(place, next(vectors))


@lowering(lambda type_, address, stride, n: _tile(named_type(type_), n.literal_value))
def tile_spread(e, args, vals):
    vec = llvm_type(named_type(args[0]))
    return _pack(e, [e.load(vec, place) for place in e.rows(vals[1], vals[2], args[3].literal_value)])


@lowering(same)
def tile_add(e, args, vals):
    a, b = (_unpack(e, v, args[0].count) for v in vals)
    add = e.builder.fadd if isinstance(args[0].dtype.elem, types.Float) else e.builder.add
    return _pack(e, [add(x, y) for x, y in zip(a, b, strict=True)])


@lowering(lambda x, factor, n_rows: _tile(x.dtype, x.count * n_rows.literal_value))
def tile_start(e, args, vals):
    xs = _unpack(e, vals[0], args[0].count)
    factor = ir.Constant(xs[0].type, [args[1].literal_value] * xs[0].type.count)
    return _pack(e, [e.builder.mul(x, factor) for x in xs] * args[2].literal_value)


def _products(e, acc_type, acc, w, stride, xs, n_x: int, splatted: Callable, product: Callable):
    """One row operand at a time is spread over a vector and combined with every x."""
    n_rows = acc_type.count // n_x
    accs, xs = _unpack(e, acc, acc_type.count), _unpack(e, xs, n_x)
    for r, row in enumerate(e.rows(w, stride, n_rows)):
        operand = splatted(row)
        for v, x in enumerate(xs):
            accs[r * n_x + v] = product(accs[r * n_x + v], operand, x)
    return _pack(e, accs)


@lowering(same)
def tile_dots(e, args, vals):
    """A step at a time: its x, then each row's four bytes spread over a vector."""
    (acc, w, w_stride, x, x_stride), n = vals[:5], args[5].literal_value
    steps, max_byte = args[6].literal_value, args[7].literal_value
    accs, bytes_ = _unpack(e, acc, args[0].count), llvm_type(numba_type(u8x64))
    rows, columns = list(e.rows(w, w_stride, len(accs) // n)), list(e.rows(x, x_stride, n))

    fours = {}

    def spread(r: int, step: int):
        """Four codes of a row. Loading with spreading (NEON's ld1r) would take an operation of the vector unit, and an
        address of its own."""
        if "lane" not in e.target or step >= steps // 4 * 4:
            return splat_i32(e, rows[r], 4 * step)
        at = r, step // 4
        if at not in fours:
            fours[at] = e.load(ir.VectorType(ir.IntType(32), 4), rows[r], 16 * at[1])
        return e.target["lane"](e, fours[at], step % 4)

    def each(step: int, sums: list, product: Callable) -> None:
        xs = [e.load(bytes_, column, 64 * step) for column in columns]
        for r in range(len(rows)):
            codes = e.builder.bitcast(spread(r, step), bytes_)
            for v in range(n):
                sums[r * n + v] = product(sums[r * n + v], codes, xs[v])

    dot = e.target["dot4_s8" if max_byte < 0 else "dot4_u7" if max_byte < 128 else "dot4"]
    together = 32767 // (256 * max_byte) if "pairs" in e.target and max_byte > 0 else 0
    if together < 2:
        for step in range(steps):
            each(step, accs, lambda acc, u, s: dot(e, acc, u, s))
        return _pack(e, accs)
    # Pairs of products are added up in 16 bits for as many steps as these hold.
    shorts = llvm_type(numba_type(i16x32))
    ones = ir.Constant(shorts, [1] * 32)
    for first in range(0, steps, together):
        sums = [None] * len(accs)
        for step in range(first, min(first + together, steps)):
            each(step, sums, lambda acc, u, s: _added(e, acc, e.target["pairs"](e, u, s)))
        accs = [e.target["dot2"](e, acc, total, ones) for acc, total in zip(accs, sums, strict=True)]
    return _pack(e, accs)


def _added(e, acc, v):
    return v if acc is None else e.builder.add(acc, v)


@lowering(same)
def tile_group(e, args, vals):
    """Sums may wrap around on the way: in the end they fit."""
    (total, w, w_stride, x, x_stride), n = vals[:5], args[5].literal_value
    steps, together, is_signed, is_over = (args[i].literal_value for i in (6, 7, 8, 9))
    bytes_, shorts = (llvm_type(numba_type(vec)) for vec in (u8x64, i16x32))
    totals = _unpack(e, total, args[0].count)
    n_rows, product = len(totals) // n, e.target["dot2_s8" if is_signed else "dot2_u7"]
    rows, columns, scales = (
        list(e.rows(*at)) for at in ((w, w_stride, n_rows), (x, x_stride, n), (vals[12], vals[13], n_rows))
    )
    over = list(e.rows(vals[10], vals[11], n)) if is_over else []
    for i, first in enumerate(range(0, steps, together)):
        sums = [None] * len(totals)
        for step in range(first, min(first + together, steps)):
            xs = [e.load(bytes_, column, 64 * step) for column in columns]
            for r, row in enumerate(rows):
                codes = e.builder.bitcast(splat_i32(e, row, 4 * step), bytes_)
                for v in range(n):
                    sums[r * n + v] = _added(e, sums[r * n + v], product(e, codes, xs[v]))
        off = [e.load(shorts, place, 64 * i) for place in over]
        for r, row in enumerate(scales):
            scale = e.builder.bitcast(splat_i32(e, row), shorts)
            for v in range(n):
                taken = e.builder.sub(sums[r * n + v], off[v]) if is_over else sums[r * n + v]
                totals[r * n + v] = e.target["dot2"](e, totals[r * n + v], taken, scale)
    return _pack(e, totals)


@lowering(lambda a, b: _tile(numba_type(i16x32), a.count))
def tile_join16(e, args, vals):
    b, shorts = e.builder, llvm_type(numba_type(i16x32))
    pairs = zip(*(_unpack(e, v, args[0].count) for v in vals), strict=True)
    sixteen = ir.Constant(llvm_type(args[0].dtype), [16] * 16)
    low = ir.Constant(llvm_type(args[0].dtype), [0xFFFF] * 16)
    return _pack(e, [b.bitcast(b.or_(b.and_(x, low), b.shl(y, sixteen)), shorts) for x, y in pairs])


@lowering(same)
def tile_pair(e, args, vals):
    shorts = llvm_type(numba_type(i16x32))
    return _products(
        e, args[0], vals[0], vals[1], vals[2], vals[3], args[3].count,
        lambda row: e.builder.bitcast(splat_i32(e, row), shorts), lambda acc, w, x: e.target["dot2"](e, acc, w, x),
    )  # fmt: skip


def _splat_f32(e, address):
    return splat_value(e.builder, ir.VectorType(ir.FloatType(), 16), e.load(ir.FloatType(), address))


@lowering(same)
def tile_fma(e, args, vals):
    return _products(
        e, args[0], vals[0], vals[1], vals[2], vals[3], args[3].count,
        lambda row: _splat_f32(e, row), lambda acc, w, x: e.fma(w, x, acc),
    )  # fmt: skip


def _scaled(e, args, vals, n_x: int, combine):
    """Combine acc[i] with f32(a[i]) and the scale of its row."""
    accs, a = _unpack(e, vals[0], args[0].count), _unpack(e, vals[1], args[0].count)
    floats = llvm_type(numba_type(f32x16))
    for r, row in enumerate(e.rows(vals[2], vals[3], args[0].count // n_x)):
        scale = _splat_f32(e, row)
        for v in range(n_x):
            i = r * n_x + v
            value = a[i] if a[i].type == floats else e.builder.sitofp(a[i], floats)
            accs[i] = combine(v, accs[i], value, scale)
    return _pack(e, accs)


@lowering(same)
def tile_scale(e, args, vals):
    n, b = args[4].literal_value, e.builder
    accs, a = _unpack(e, vals[0], args[0].count), _unpack(e, vals[1], args[0].count)
    shorts = llvm_type(numba_type(i16x32))
    for r, row in enumerate(e.rows(vals[2], vals[3], len(accs) // n)):
        scale = splat_i32(e, row)
        for i in range(r * n, r * n + n):
            if args[5].literal_value:
                accs[i] = e.target["dot2"](e, accs[i], b.bitcast(a[i], shorts), b.bitcast(scale, shorts))
            else:
                accs[i] = b.add(accs[i], b.mul(a[i], scale))
    return _pack(e, accs)


@lowering(same)
def tile_scale2(e, args, vals):
    xs = _unpack(e, vals[4], args[4].count)
    return _scaled(e, args, vals, len(xs), lambda v, acc, a, scale: e.fma(e.builder.fmul(a, scale), xs[v], acc))


@lowering(same)
def tile_scaled(e, args, vals):
    xs = _unpack(e, vals[4], args[4].count)
    return _scaled(e, args, vals, len(xs), lambda v, acc, a, scale: e.fma(a, e.builder.fmul(scale, xs[v]), acc))


@lowering(same)
def tile_multiply(e, args, vals):
    floats = llvm_type(numba_type(f32x16))
    return _products(
        e, args[0], vals[0], vals[1], vals[2], vals[3], args[3].count,
        lambda row: e.load(floats, row), lambda acc, w, x: e.fma(w, x, acc),
    )  # fmt: skip

"""What squares of products become in LLVM: a table's own instructions, or loops.

See `lowering` for the form; this file completes its table, LOWERINGS.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from .lowering import I64, lowering, nothing, splat_i32
from .numba_types import llvm_type, numba_type
from .types import i32x16

_ROWS = 16


def _native(e, name: str, *args) -> bool:
    """Whether the target has instructions for squares: they are emitted then."""
    if name in e.target:
        e.target[name](e, *args)
    return name in e.target


@lowering(nothing)
def squares_begin(e, args, vals):
    _native(e, "squares_begin", args[0].literal_value)


@lowering(nothing)
def squares_end(e, args, vals):
    _native(e, "squares_end")


@lowering(nothing)
def squares_put(e, args, vals):
    _native(e, "squares_put", vals[0], args[1].literal_value)


@lowering(nothing)
def squares_clear(e, args, vals):
    if not _native(e, "squares_clear", args[1].literal_value):
        with _loop(e, vals[0], args[1].literal_value * _ROWS) as row:
            e.store(_after(e, vals[0], row, 64), ir.Constant(llvm_type(numba_type(i32x16)), [0] * 16))


@lowering(nothing)
def squares_add(e, args, vals):
    out, w, w_step, _, x, x_step = vals[:6]
    n_w, n_x, run, signed = (args[i].literal_value for i in (3, 6, 7, 8))
    ws, xs = list(e.rows(w, w_step, n_w)), list(e.rows(x, x_step, n_x))
    if _native(e, "squares_add", ws, xs, signed):
        return
    sums = llvm_type(numba_type(i32x16))
    for i, rows in enumerate(ws):
        for v, columns in enumerate(xs):
            with _loop(e, out, _ROWS) as row, _loop(e, out, run // 4) as step:
                place = _after(e, e.builder.add(out, ir.Constant(I64, (i * n_x + v) * 1024)), row, 64)
                codes = splat_i32(e, _after(e, _after(e, rows, row, 64), step, 4))
                acts = e.load(sums, _after(e, columns, step, 64))
                e.store(place, _dot4(e, e.load(sums, place), codes, acts, signed >> i & 1))


def _dot4(e, acc, codes, acts, is_signed):
    """By shifts: the tables' own dot4 of signed bytes, in a loop, keeps LLVM 22 busy for ever with AVX-512."""
    b = e.builder

    def byte(v, j: int, is_signed):
        up, down = (ir.Constant(v.type, [n] * 16) for n in (24 - 8 * j, 24))
        return (b.ashr if is_signed else b.lshr)(b.shl(v, up), down)

    for j in range(4):
        acc = b.add(acc, b.mul(byte(codes, j, is_signed), byte(acts, j, True)))
    return acc


def _loop(e, address, n: int):
    """The lowest bit of an address that is a multiple of 64 is 0, which LLVM does not know: it would write the loop
    out."""
    return cgutils.for_range(
        e.builder, e.builder.add(e.builder.and_(address, ir.Constant(I64, 1)), ir.Constant(I64, n))
    )


def _after(e, address, loop, stride: int):
    return e.builder.add(address, e.builder.mul(loop.index, ir.Constant(I64, stride)))

"""AMX, the tile registers of Intel's server processors since 2023: what `squares` becomes there.

Eight registers of 16 rows of 64 bytes. A product multiplies 16 rows of bytes by as many columns of four bytes a step,
and adds to a register of 16 x 16 sums, 16 cycles for 16 x 16 x 64 products (Intel, "Architecture Instruction Set
Extensions Programming Reference", chapter 3). The activations' tiles (quantize.tiles) are such columns already.
"""

from __future__ import annotations

from llvmlite import ir

from .emission import I8, const, vec

I64 = ir.IntType(64)
_VOID = ir.VoidType()
_W, _X = 4, 6
"""The first registers of each operand; sums are in those before."""
_ROWS = 16


def _call(e, name: str, *args) -> None:
    e.call(f"llvm.x86.{name}", _VOID, *args)


def _register(i: int):
    return ir.Constant(I8, i)


def squares_begin(e, run: int) -> None:
    """The shapes of all registers: palette 1, bytes a row from byte 16 on, rows from byte 48 on."""
    with e.builder.goto_entry_block():
        kept = e.builder.alloca(vec(I8, 64))
    shapes = [1, *[0] * 63]
    for i in range(8):
        at_bytes, is_w, is_x = 16 + 2 * i, _W <= i < _X, i >= _X
        shapes[at_bytes] = run if is_w else 64
        shapes[48 + i] = run // 4 if is_x else _ROWS
    e.builder.store(ir.Constant(vec(I8, 64), shapes), kept).align = 1
    _call(e, "ldtilecfg", e.builder.bitcast(kept, I8.as_pointer()))


def squares_end(e) -> None:
    _call(e, "tilerelease")


def squares_clear(e, n: int) -> None:
    for i in range(n):
        _call(e, "tilezero", _register(i))


def squares_add(e, ws: list, xs: list, signed: int) -> None:
    """ws, xs: addresses of each operand."""
    for i, w in enumerate(ws):
        _read(e, _W + i, w)
    for v, x in enumerate(xs):
        _read(e, _X + v, x)
    for i in range(len(ws)):
        product = "tdpbssd" if signed >> i & 1 else "tdpbusd"
        for v in range(len(xs)):
            _call(e, product, _register(i * len(xs) + v), _register(_W + i), _register(_X + v))


def squares_put(e, out, n: int) -> None:
    for i in range(n):
        place = e.pointer(e.builder.add(out, const(I64, 1024 * i)), I8)
        _call(e, "tilestored64", _register(i), place, const(I64, 64))


def _read(e, register: int, address) -> None:
    _call(e, "tileloadd64", _register(register), e.pointer(address, I8), const(I64, 64))

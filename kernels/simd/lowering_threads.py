"""What the operations that threads need become in LLVM: atomic memory, waiting, calls of other kernels.

See `lowering` for the form; this file completes its table, LOWERINGS.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from .lowering import I32, I64, VOID, lowering, nothing


@lowering(lambda address, n: types.int64)
def atomic_add(e, args, vals):
    return e.builder.atomic_rmw("add", e.pointer(vals[0], I64), vals[1], "seq_cst")


@lowering(lambda address: types.int64)
def atomic_load(e, args, vals):
    return e.builder.load_atomic(e.pointer(vals[0], I64), "acquire", 8, typ=I64)


@lowering(nothing)
def atomic_store(e, args, vals):
    e.builder.store_atomic(vals[1], e.pointer(vals[0], I64), "release", 8)


@lowering(lambda address, old, new: types.int64)
def atomic_swap(e, args, vals):
    pair = e.builder.cmpxchg(e.pointer(vals[0], I64), vals[1], vals[2], "seq_cst", "acquire")
    return e.builder.extract_value(pair, 0)


@lowering(nothing)
def pause(e, args, vals):
    e.target["pause"](e)


@lowering(lambda: types.int64)
def cycles(e, args, vals):
    return e.call("llvm.readcyclecounter", I64)


@lowering(nothing)
def call_kernel(e, args, vals):
    kind = ir.FunctionType(VOID, [I64, I64])
    e.builder.call(e.builder.inttoptr(vals[0], kind.as_pointer()), vals[1:])


@lowering(nothing)
def call_yield(e, args, vals):
    kind = ir.FunctionType(I32, [])
    e.builder.call(e.builder.inttoptr(vals[0], kind.as_pointer()), [])

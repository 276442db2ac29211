"""What each operation of the vocabulary becomes in LLVM, on any target. What differs by target stands in `targets`.

A lowering is a pair: a function from Numba argument types to the result type, and one that emits the instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .numba_types import VecType, llvm_type, named_type, numba_type, splat_value
from .types import i16x32, u8x64

I32, I64 = ir.IntType(32), ir.IntType(64)
VOID = ir.VoidType()


@dataclass
class Emitter:
    """What an emission needs beside its arguments: the builder, and the target's own operations."""

    context: object
    builder: ir.IRBuilder
    target: dict[str, Callable]

    def call(self, name: str, returns: ir.Type, *args):
        """Call an LLVM intrinsic by name."""
        kind = ir.FunctionType(returns, [a.type for a in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), args)

    def pointer(self, address, pointee: ir.Type):
        return self.builder.inttoptr(address, pointee.as_pointer())

    def load(self, type_: ir.Type, address, offset: int = 0):
        if offset:
            address = self.builder.add(address, ir.Constant(I64, offset))
        value = self.builder.load(self.pointer(address, type_), typ=type_)
        value.align = 1
        return value

    def store(self, address, value, offset: int = 0) -> None:
        if offset:
            address = self.builder.add(address, ir.Constant(I64, offset))
        self.builder.store(value, self.pointer(address, value.type)).align = 1

    def shuffle(self, a, b, pattern):
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(pattern)), list(pattern)))

    def fma(self, a, b, c):
        return self.target["fma"](self, a, b, c)

    def rows(self, address, stride, n_rows: int):
        """Addresses of n_rows rows, `stride` bytes apart."""
        for r in range(n_rows):
            yield self.builder.add(address, self.builder.mul(stride, ir.Constant(I64, r))) if r else address


def suffix(t: ir.Type) -> str:
    """The overload suffix of an LLVM intrinsic: v16f32, f64, ..."""
    if isinstance(t, ir.VectorType):
        return f"v{t.count}{suffix(t.element)}"
    return {"float": "f32", "double": "f64", "half": "f16"}.get(str(t), str(t))


LOWERINGS: dict[str, tuple[Callable, Callable]] = {}


def lowering(typing: Callable):
    def register(emit: Callable) -> Callable:
        LOWERINGS[emit.__name__.rstrip("_")] = (typing, emit)
        return emit

    return register


def same(*args):
    return args[0]


def _named(*args):
    return named_type(args[0])


def nothing(*args):
    return types.void


# --- memory


@lowering(_named)
def load(e, args, vals):
    return e.load(llvm_type(named_type(args[0])), vals[1])


@lowering(nothing)
def store(e, args, vals):
    e.store(vals[0], vals[1])


@lowering(nothing)
def prefetch(e, args, vals):
    p = e.pointer(vals[0], ir.IntType(8))
    e.call("llvm.prefetch.p0", VOID, p, ir.Constant(I32, 0), ir.Constant(I32, 3), ir.Constant(I32, 1))


@lowering(lambda n: types.int64)
def room(e, args, vals):
    """Numba's own alloca_once would fill it with zeros, by a call of memset."""
    with e.builder.goto_entry_block():
        kept = e.builder.alloca(ir.ArrayType(ir.VectorType(I32, 8), args[0].literal_value // 32))
    return e.builder.ptrtoint(kept, I64)


# --- making and reshaping vectors


@lowering(_named)
def splat(e, args, vals):
    vec = named_type(args[0])
    return splat_value(e.builder, llvm_type(vec), e.context.cast(e.builder, vals[1], args[1], vec.elem))


@lowering(lambda address: numba_type(u8x64))
def splat4(e, args, vals):
    return e.builder.bitcast(splat_i32(e, vals[0]), llvm_type(numba_type(u8x64)))


def splat_i32(e, address, offset: int = 0):
    return splat_value(e.builder, ir.VectorType(I32, 16), e.load(I32, address, offset))


def _make(e, args, vals):
    vec = named_type(args[0])
    out = ir.Constant(llvm_type(vec), ir.Undefined)
    for i, (t, v) in enumerate(zip(args[1:], vals[1:], strict=True)):
        out = e.builder.insert_element(out, e.context.cast(e.builder, v, t, vec.elem), ir.Constant(I32, i))
    return out


LOWERINGS["pair"] = LOWERINGS["make4"] = LOWERINGS["make8"] = (_named, _make)


@lowering(lambda const: numba_type(const.value.type))
def constant(e, args, vals):
    const = args[0].value
    return ir.Constant(llvm_type(numba_type(const.type)), list(const.values))


@lowering(lambda lanes, a, b: VecType(a.elem, len(lanes.value.pattern)))
def shuffle(e, args, vals):
    return e.shuffle(vals[1], vals[2], args[0].value.pattern)


@lowering(lambda lanes, v: v)
def pick16(e, args, vals):
    return e.target["pick16"](e, args[0].value.pattern, vals[1])


@lowering(lambda lanes, v: v)
def bit_to_16(e, args, vals):
    return e.target["bit_to_16"](e, args[0].value.pattern, vals[1])


@lowering(lambda table, codes: codes)
def lookup16(e, args, vals):
    return e.target["lookup16"](e, args[0].value.values, vals[1])


@lowering(lambda v: v)
def high4(e, args, vals):
    return e.target["high4"](e, vals[0])


def _gathered(e, args, vals, bytes_: int):
    """One load an entry: faster than a processor's own gather, where it has one. Eight bytes are loaded as a float:
    LLVM then loads every second entry into the upper half of a register that has the one before."""
    table, entry = args[0].value, ir.DoubleType() if bytes_ == 8 else I32
    data = table.bytes()
    entries = [int.from_bytes(data[i : i + bytes_], "little") for i in range(0, len(data), bytes_)]
    kind = ir.ArrayType(ir.IntType(8 * bytes_), len(entries))
    start = cgutils.global_constant(e.builder.module, f"table.{table.name}", ir.Constant(kind, entries))
    out = ir.Constant(ir.VectorType(entry, 64 // bytes_), ir.Undefined)
    for i, (t, v) in enumerate(zip(args[1:], vals[1:], strict=True)):
        index = e.context.cast(e.builder, v, types.unliteral(t), types.int64)
        place = e.builder.gep(start, [ir.Constant(I64, 0), index], inbounds=True, source_etype=kind)
        out = e.builder.insert_element(out, e.builder.load(place, typ=entry), ir.Constant(I32, i))
    return e.builder.bitcast(out, llvm_type(numba_type(u8x64)))


@lowering(lambda table, *indices: numba_type(u8x64))
def gather8(e, args, vals):
    return _gathered(e, args, vals, 8)


@lowering(lambda table, *indices: numba_type(u8x64))
def gather4(e, args, vals):
    return _gathered(e, args, vals, 4)


@lowering(lambda v, i: v.elem)
def lane(e, args, vals):
    return e.builder.extract_element(vals[0], vals[1])


@lowering(_named)
def bitcast(e, args, vals):
    return e.builder.bitcast(vals[1], llvm_type(named_type(args[0])))


@lowering(_named)
def cast(e, args, vals):
    return _convert(e.builder, vals[1], _elem(args[1]), _elem(named_type(args[0])), llvm_type(named_type(args[0])))


def _elem(t):
    t = types.unliteral(t)
    return t.elem if isinstance(t, VecType) else t


def _convert(b, v, source, target, returns):
    if isinstance(source, types.Float):
        if isinstance(target, types.Float):
            return v if source == target else (b.fpext if target.bitwidth > source.bitwidth else b.fptrunc)(v, returns)
        return b.fptosi(v, returns)
    if isinstance(target, types.Float):
        return (b.sitofp if source.signed else b.uitofp)(v, returns)
    if target.bitwidth <= source.bitwidth:
        return v if target.bitwidth == source.bitwidth else b.trunc(v, returns)
    return (b.sext if source.signed else b.zext)(v, returns)


def _float_of(v):
    return VecType(types.float32, v.lanes) if isinstance(v, VecType) else types.float32


@lowering(_float_of)
def from_half(e, args, vals):
    return e.target["from_half"](e, vals[0])


@lowering(_float_of)
def from_bhalf(e, args, vals):
    wide = ir.VectorType(I32, args[0].lanes)
    shifted = e.builder.shl(e.builder.zext(vals[0], wide), ir.Constant(wide, [16] * args[0].lanes))
    return e.builder.bitcast(shifted, llvm_type(_float_of(args[0])))


@lowering(lambda v: VecType(types.uint16, v.lanes))
def to_half(e, args, vals):
    return e.target["to_half"](e, vals[0])


# --- arithmetic


@lowering(same)
def fma(e, args, vals):
    return e.fma(*vals)


def _choose(comparison):
    def emit(e, args, vals):
        a, b = vals
        if isinstance(_elem(args[0]), types.Float):
            mask = e.builder.fcmp_ordered(comparison, a, b)
        else:
            mask = (e.builder.icmp_signed if _elem(args[0]).signed else e.builder.icmp_unsigned)(comparison, a, b)
        return e.builder.select(mask, a, b)

    return emit


LOWERINGS["minimum"] = (same, _choose("<"))
LOWERINGS["maximum"] = (same, _choose(">"))


@lowering(same)
def absolute(e, args, vals):
    return e.call(f"llvm.fabs.{suffix(vals[0].type)}", vals[0].type, vals[0])


@lowering(same)
def sqrt(e, args, vals):
    return e.call(f"llvm.sqrt.{suffix(vals[0].type)}", vals[0].type, vals[0])


@lowering(lambda a, b: VecType(types.boolean, a.lanes))
def less(e, args, vals):
    a, b = vals
    if isinstance(args[0].elem, types.Float):
        return e.builder.fcmp_ordered("<", a, b)
    return (e.builder.icmp_signed if args[0].elem.signed else e.builder.icmp_unsigned)("<", a, b)


@lowering(lambda bits: VecType(types.boolean, 64))
def mask64(e, args, vals):
    return e.target["mask64"](e, vals[0])


@lowering(lambda mask, a, b: a)
def select(e, args, vals):
    return e.builder.select(*vals)


def _halves(e, v, combine):
    """Combine the halves of a vector until one lane is left: the order of additions is part of the result."""
    n = v.type.count
    while n > 1:
        n //= 2
        v = combine(e.shuffle(v, v, range(n)), e.shuffle(v, v, range(n, 2 * n)))
    return e.builder.extract_element(v, ir.Constant(I32, 0))


@lowering(lambda v: v.elem)
def hsum(e, args, vals):
    return _halves(e, vals[0], e.builder.fadd if isinstance(args[0].elem, types.Float) else e.builder.add)


@lowering(lambda v: v.elem)
def hmax(e, args, vals):
    return _halves(e, vals[0], lambda a, b: e.builder.select(e.builder.fcmp_ordered(">", a, b), a, b))


@lowering(same)
def dot4(e, args, vals):
    return e.target["dot4"](e, *vals)


@lowering(same)
def dot4_u7(e, args, vals):
    return e.target["dot4_u7"](e, *vals)


@lowering(same)
def dot4_s8(e, args, vals):
    return e.target["dot4_s8"](e, *vals)


@lowering(same)
def dot2(e, args, vals):
    return e.target["dot2"](e, *vals)


@lowering(lambda u, s: numba_type(i16x32))
def dot2_u7(e, args, vals):
    return e.target["dot2_u7"](e, *vals)


@lowering(lambda u, s: numba_type(i16x32))
def dot2_s8(e, args, vals):
    return e.target["dot2_s8"](e, *vals)


@lowering(lambda a, b: numba_type(i16x32))
def pack16(e, args, vals):
    return e.target["pack16"](e, *vals)

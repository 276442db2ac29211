"""How Numba sees the vocabulary's names: a type for vectors, and opaque types for the names passed as arguments.

Only `jit` imports this file, and it imports numba.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin, lower_constant
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model, typeof_impl

from .types import Const, Lanes, Scalar, Table, Vec

SCALARS = {
    "i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64,
    "u8": types.uint8, "u16": types.uint16, "u32": types.uint32, "u64": types.uint64,
    "f32": types.float32, "f64": types.float64,
}  # fmt: skip


class VecType(types.Type):
    """A vector value."""

    def __init__(self, elem: types.Type, lanes: int) -> None:
        self.elem, self.lanes = elem, lanes
        super().__init__(name=f"vec<{elem} x {lanes}>")


class NameType(types.Opaque):
    """A `Vec`, `Lanes`, `Const` or `Table` passed as an argument: known at compile time, nothing at run time."""

    def __init__(self, value: Vec | Lanes | Const | Table) -> None:
        self.value = value
        super().__init__(name=f"name<{value!r}>")


@register_model(VecType)
class _VecModel(models.PrimitiveModel):
    def __init__(self, manager, vec):
        super().__init__(manager, vec, llvm_type(vec))


register_model(NameType)(models.OpaqueModel)


@lower_constant(NameType)
def _(context, builder, type_, value):
    return context.get_dummy_value()


@typeof_impl.register(Vec)
@typeof_impl.register(Lanes)
@typeof_impl.register(Const)
@typeof_impl.register(Table)
def _(value, context):
    return NameType(value)


def numba_type(name: Scalar | Vec | types.Type) -> types.Type:
    """The Numba type of a value whose vocabulary type is `name`."""
    if isinstance(name, Scalar):
        return SCALARS[name.name]
    if isinstance(name, Vec):
        return VecType(SCALARS[name.elem.name], name.lanes)
    return name


def named_type(argument: types.Type) -> types.Type:
    """The type that an argument such as `f32` or `u8x64` names."""
    if isinstance(argument, types.NumberClass):
        return argument.dtype
    return numba_type(argument.value)


def llvm_type(type_: types.Type) -> ir.Type:
    if isinstance(type_, VecType):
        return ir.VectorType(llvm_type(type_.elem), type_.lanes)
    if type_ is types.boolean:
        return ir.IntType(1)
    if type_ is types.float32:
        return ir.FloatType()
    if type_ is types.float64:
        return ir.DoubleType()
    return ir.IntType(type_.bitwidth)


def splat_value(builder, vec: ir.VectorType, x):
    one = builder.insert_element(ir.Constant(vec, ir.Undefined), x, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vec.count), [0] * vec.count)
    return builder.shuffle_vector(one, one, zeros)


# --- operators on vectors

_OPERATORS = {
    # operator: (integer instruction, float instruction)
    operator.add: ("add", "fadd"),
    operator.sub: ("sub", "fsub"),
    operator.mul: ("mul", "fmul"),
    operator.truediv: (None, "fdiv"),
    operator.and_: ("and_", None),
    operator.or_: ("or_", None),
    operator.xor: ("xor", None),
    operator.lshift: ("shl", None),
    operator.rshift: ("ashr", None),
}


def _register(op, int_instruction, float_instruction):
    @infer_global(op)
    class _Typer(AbstractTemplate):
        def generic(self, args, kws):
            a, b = args
            if isinstance(a, VecType) and (b == a or isinstance(b, types.Number)):
                return signature(a, a, a if b == a else types.unliteral(b))
            return None

    def emit(context, builder, sig, args):
        vec, other = sig.args
        x, y = args
        if not isinstance(other, VecType):
            y = splat_value(builder, llvm_type(vec), context.cast(builder, y, other, vec.elem))
        if isinstance(vec.elem, types.Float):
            return getattr(builder, float_instruction)(x, y)
        if op is operator.rshift and not vec.elem.signed:
            return builder.lshr(x, y)
        return getattr(builder, int_instruction)(x, y)

    lower_builtin(op, VecType, VecType)(emit)
    lower_builtin(op, VecType, types.Number)(emit)


for _op, _names in _OPERATORS.items():
    _register(_op, *_names)

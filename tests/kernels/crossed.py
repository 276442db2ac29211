"""Compiles the operations that differ by target for another architecture, and writes each one's assembly as JSON.

The argument is the name of a target of ALL_TARGETS. A program of its own: it imports numba.
"""

import json
import sys

import llvmlite.binding as llvm
from llvmlite import ir

from localllm.kernels.simd import instructions
from localllm.kernels.simd.lowering import Emitter
from localllm.kernels.simd.targets import ALL_TARGETS

TRIPLES = {"aarch64": "aarch64-unknown-linux-gnu"}
I8, I16, I32, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()
INTS, BYTES, SHORTS, FLOATS = (ir.VectorType(t, n) for t, n in ((I32, 16), (I8, 64), (I16, 32), (F32, 16)))
OPERANDS = {
    "fma": (FLOATS,) * 3, "from_half": (ir.VectorType(I16, 16),), "to_half": (FLOATS,), "dot4": (INTS, BYTES, BYTES),
    "dot4_u7": (INTS, BYTES, BYTES), "dot2": (INTS, SHORTS, SHORTS), "pack16": (INTS, INTS), "lookup16": (BYTES,),
}  # fmt: skip


def module_of(name: str, table: dict) -> ir.Module:
    """void f(out, a, b, c): the operation on vectors at three addresses."""
    module = ir.Module(name)
    pointers = [t.as_pointer() for t in OPERANDS[name]]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [BYTES.as_pointer(), *pointers]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    values = [builder.load(p, typ=t) for p, t in zip(function.args[1:], OPERANDS[name], strict=True)]
    given = [tuple(range(16)), *values] if name == "lookup16" else values
    result = table[name](Emitter(None, builder, table), *given)
    builder.store(result, builder.bitcast(function.args[0], result.type.as_pointer()))
    builder.ret_void()
    return module


def main() -> None:
    target = next(t for t in ALL_TARGETS if t.name == sys.argv[1])
    table = getattr(instructions, target.lowering)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLES[target.machine]).create_target_machine(
        cpu=target.cpu, features=target.features(frozenset()), opt=3
    )
    out = {}
    for name in OPERANDS:
        module = llvm.parse_assembly(str(module_of(name, table)))
        module.triple = TRIPLES[target.machine]
        out[name] = machine.emit_assembly(module)
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()

"""Compiles for another processor: the operations that differ by target, to assembly, or whole kernels, to objects.

Arguments: a target of ALL_TARGETS, with commas and more features behind its name, and keys of kernels; without keys,
operations. Writes JSON: the assembly
of each operation, or the object code of each kernel in base64, its symbol and a newline before it. A program of its
own: it imports numba, which takes the machine that it compiles for from llvmlite.
"""

import base64
import json
import sys

import llvmlite.binding as llvm
from llvmlite import ir

from localllm.kernels.objects import Key
from localllm.kernels.simd import targets
from localllm.tools import assembly
from localllm.tools.assembly import TRIPLES

I8, I16, I32, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()
INTS, BYTES, SHORTS, FLOATS = (ir.VectorType(t, n) for t, n in ((I32, 16), (I8, 64), (I16, 32), (F32, 16)))
OPERANDS = {
    "fma": (FLOATS,) * 3, "from_half": (ir.VectorType(I16, 16),), "to_half": (FLOATS,), "dot4": (INTS, BYTES, BYTES),
    "dot4_u7": (INTS, BYTES, BYTES), "dot4_s8": (INTS, BYTES, BYTES),
    "dot2": (INTS, SHORTS, SHORTS), "pack16": (INTS, INTS), "lookup16": (BYTES,),
    "dot2_u7": (BYTES, BYTES), "dot2_s8": (BYTES, BYTES), "pick16": (BYTES,), "bit_to_16": (BYTES,),
    "high4": (BYTES,),
}  # fmt: skip

KNOWN = {
    "lookup16": (tuple(range(16)),), "pick16": (tuple(5 * i % 16 for i in range(64)),),
    "bit_to_16": (tuple(i % 8 for i in range(64)),),
}  # fmt: skip
"""What an operation knows at compile time."""


def module_of(name: str, table: dict) -> ir.Module:
    """void f(out, a, b, c): the operation on vectors at three addresses."""
    from localllm.kernels.simd.lowering import Emitter

    module = ir.Module(name)
    pointers = [t.as_pointer() for t in OPERANDS[name]]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [BYTES.as_pointer(), *pointers]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    values = [builder.load(p, typ=t) for p, t in zip(function.args[1:], OPERANDS[name], strict=True)]
    given = [*KNOWN.get(name, ()), *values]
    result = table[name](Emitter(None, builder, table), *given)
    builder.store(result, builder.bitcast(function.args[0], result.type.as_pointer()))
    builder.ret_void()
    return module


def operations(target: targets.Target) -> dict[str, str]:
    """Assembly of each operation."""
    from localllm.kernels.simd import instructions

    table = getattr(instructions, target.lowering)
    machine = llvm.Target.from_triple(TRIPLES[target.machine]).create_target_machine(
        cpu=target.cpu, features=target.features(frozenset()), opt=3
    )
    out = {}
    for name in OPERANDS:
        module = llvm.parse_assembly(str(module_of(name, table)))
        module.triple = TRIPLES[target.machine]
        out[name] = machine.emit_assembly(module)
    return out


def kernels(target: targets.Target, more: frozenset[str], keys: list[str]) -> dict[str, str]:
    """Object code of each kernel, in base64, for a processor that has `more` features than the target requires."""
    compiler = assembly.compiler(target, more)
    from localllm.kernels.simd import instructions

    if target.machine == "x86_64":  # Bochs 2.7 rounds to halves upwards in the middle between two, not to even
        table = getattr(instructions, target.lowering)
        table["to_half"] = instructions.GENERIC["to_half"]
    return {
        key: base64.b64encode(compiler.compile(Key.parse(key).resolve(), key)).decode() for key in dict.fromkeys(keys)
    }


def main() -> None:
    name, *more = sys.argv[1].split(",")
    target = next(t for t in targets.ALL_TARGETS if t.name == name)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    json.dump(kernels(target, frozenset(more), sys.argv[2:]) if sys.argv[2:] else operations(target), sys.stdout)


if __name__ == "__main__":
    main()

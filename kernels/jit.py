"""The only door to Numba: plain functions over the vector vocabulary become object code for one target.

Runs as a worker process of `objects` (`python -m localllm.kernels.jit`), so that no other process imports Numba: the
target is set by environment variables before that import. Reads kernel keys from standard input, a line each, and
writes `<object file>` to the cache as each is done.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import types as python_types
from collections.abc import Callable

from .simd.targets import Target, current, host_features
from .simd.types import Scalar, Struct
from .simd.vocabulary import Op

FLAGS = {"error_model": "numpy", "boundscheck": False}
"""fastmath stays off: attention masks hold -inf, and the order of float operations is a promise."""


class Compiler:
    """Compiles kernels for one target. One instance a process: Numba reads the target once."""

    def __init__(self, target: Target, features: str) -> None:
        os.environ["NUMBA_CPU_NAME"], os.environ["NUMBA_CPU_FEATURES"] = target.cpu, features
        os.environ["NUMBA_OPT"] = "3"
        # The loop vectoriser would only get in the way of code that is vector code already, and costs compile time.
        os.environ["NUMBA_LOOP_VECTORIZE"] = os.environ["NUMBA_SLP_VECTORIZE"] = "0"
        if "numba" in sys.modules:
            raise RuntimeError("numba was imported before its target was set")
        # All but the first complete the table of lowerings.
        from .simd import instructions, lowering_squares, lowering_threads, lowering_tiles  # noqa: F401
        from .simd.lowering import LOWERINGS, Emitter

        self._lowerings = LOWERINGS
        self._emitter = Emitter
        self._instructions = getattr(instructions, target.lowering)
        self._converted: dict[object, object] = {}

    def compile(self, function: Callable, symbol: str) -> bytes:
        """Object code of `void symbol(int64 params, int64 thread)`."""
        from numba import cfunc, types

        entry = self._rebound(function)
        # Numba names code after the function and a number of this process's own: the kernels of two factories' calls,
        # compiled in two processes, would share one symbol, and the linker would give the first for both.
        entry.__qualname__ = symbol
        kernel = cfunc(types.void(types.int64, types.int64), nopython=True, forceinline=True, **FLAGS)(entry)
        library = kernel._library
        _check_self_contained(library.get_llvm_str(), symbol)
        _, _, (code, _) = library.serialize_using_object_code()
        return kernel.native_name.encode() + b"\n" + code

    def assembly(self, function: Callable) -> str:
        """The machine code as text, for tests and for the curious."""
        from numba import cfunc, types

        compile_ = cfunc(types.void(types.int64, types.int64), nopython=True, forceinline=True, **FLAGS)
        return compile_(self._rebound(function))._library.get_asm_str()

    def _rebound(self, function: Callable) -> Callable:
        """The function with every name of the vocabulary, and every helper, replaced by what Numba understands."""
        names = set(function.__code__.co_names)
        scope = {k: self._convert(v) for k, v in function.__globals__.items() if k in names}
        scope["__builtins__"] = function.__globals__["__builtins__"]
        cells = tuple(python_types.CellType(self._convert(c.cell_contents)) for c in function.__closure__ or ())
        rebound = python_types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells)
        scope[function.__name__] = rebound
        return rebound

    def _convert(self, value):
        key = id(value)
        if key not in self._converted:
            # The value is kept beside its replacement, so that its id stays its own.
            self._converted[key] = (value, self._replacement(value))
        return self._converted[key][1]

    def _replacement(self, value):
        if isinstance(value, Op):
            return self._intrinsic(value, *self._lowerings[value.name])
        if isinstance(value, Struct):
            return _struct_view(value)
        if isinstance(value, Scalar):
            from .simd.numba_types import SCALARS

            return SCALARS[value.name]
        if isinstance(value, python_types.FunctionType):
            from numba import njit

            # Joined at LLVM's level: no call remains, and each helper is typed once.
            return njit(forceinline=True, no_cpython_wrapper=True, **FLAGS)(self._rebound(value))
        return value

    def _intrinsic(self, op: Op, typing: Callable, emit: Callable):
        from numba.extending import intrinsic

        make_emitter = self._emitter
        instructions = self._instructions

        def operation(typing_context, *args):
            signature = typing(*args)(*args)

            def codegen(context, builder, signature, values):
                result = emit(make_emitter(context, builder, instructions), args, values)
                return context.get_dummy_value() if result is None else result

            return signature, codegen

        # Numba asks for the names of the arguments: those of the vocabulary.
        operation.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter("typing_context", inspect.Parameter.POSITIONAL_OR_KEYWORD), *op.parameters]
        )
        return intrinsic(prefer_literal=True)(operation)


def _struct_view(struct: Struct):
    """An intrinsic: the address as a record, whose fields are loads at fixed offsets."""
    from numba import from_dtype, types
    from numba.extending import intrinsic

    record = from_dtype(struct.dtype)

    @intrinsic
    def view(typing_context, address):
        def codegen(context, builder, signature, values):
            return builder.inttoptr(values[0], context.get_value_type(record))

        return record(types.int64), codegen

    return view


def _check_self_contained(llvm_ir: str, symbol: str) -> None:
    """A kernel that calls anything outside itself could not be loaded without Numba: that is a bug in the kernel."""
    declared = re.findall(r"^declare [^@]*@\"?([^\s\"(]+)", llvm_ir, re.MULTILINE)
    outside = [name for name in declared if not name.startswith("llvm.")]
    if outside:
        raise RuntimeError(f"kernel {symbol} calls {', '.join(outside)}")


def main() -> None:
    from . import objects

    target = current()
    compiler = Compiler(target, target.features(host_features()))
    for line in sys.stdin:
        key = objects.Key.parse(line.strip())
        objects.write(objects.path(key), compiler.compile(key.resolve(), str(key)))
        print(key, flush=True)


if __name__ == "__main__":
    main()

"""Kernels as assembly, for this processor or any other: `python -m localllm.tools.assembly TARGET KEY ...`.

Nothing is run, so that a processor need not have the target. It is a program of its own, which writes a line of JSON a
kernel, its key and its text: numba takes the machine that it compiles for from llvmlite, once a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from localllm.errors import LocalllmError
from localllm.kernels.objects import Key
from localllm.kernels.simd import targets
from localllm.kernels.simd.targets import Target

if TYPE_CHECKING:
    from localllm.kernels.jit import Compiler

TRIPLES = {"aarch64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}


def compiler(target: Target, more: frozenset[str] = frozenset()) -> Compiler:
    """What compiles for a target, on a processor that has `more` features than it requires. From then on this process
    takes itself for one that runs there: only the first call of a process counts."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = TRIPLES[target.machine]
    llvm.get_process_triple = lambda: triple
    targets.TARGETS[target.name] = target
    targets.host_features = cache(lambda: more.union(target.requires))
    os.environ["LOCALLLM_TARGET"] = target.name
    from localllm.kernels.jit import Compiler

    return Compiler(target, target.features(more))


def of_kernels(target: Target, keys: Iterable[Key]) -> Iterator[tuple[Key, str]]:
    """Each kernel's assembly, as soon as it is compiled, with all that a processor of the target may have. Raises
    LocalllmError where one cannot be compiled."""
    wanted = list(keys)
    command = [sys.executable, "-m", __name__, target.name, *map(str, wanted)]
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as child:
            assert child.stdout
            for line in child.stdout:
                key, text = json.loads(line)
                yield Key.parse(key), text
        said.seek(0)
        last = said.read().strip().rpartition("\n")[2]
    if child.returncode:
        raise LocalllmError(f"{target.name}: kernels cannot be compiled: {last or child.returncode}")


def main(name: str, *keys: str) -> None:
    target = next(t for t in targets.ALL_TARGETS if t.name == name)
    made = compiler(target, frozenset(target.optional))
    for key in keys:
        print(json.dumps([key, made.assembly(Key.parse(key).resolve())]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

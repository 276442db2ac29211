"""What a loop costs on a processor that is not at hand, by LLVM's model of it: llvm-mca.

Each load is taken to hit the nearest cache, and each branch to be foreseen. Of some processors LLVM has the model of an
older relative: of cortex-a76 that of Cortex-A57, of apple-m1 to apple-m5 that of Apple's A7, with three vector units.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

from localllm.kernels.simd.targets import Target
from localllm.tools.assembly import TRIPLES
from localllm.tools.loops import Loop

CPUS = {
    "amx": "sapphirerapids", "avx512vnni": "znver4", "avxvnni": "alderlake", "avx2": "znver3",
    "neoni8mm": "neoverse-v1", "neon": "neoverse-n1",
}  # fmt: skip
"""A processor for each target, where none is wished for."""
_ITERATIONS = 100
_NAME = re.compile(r"llvm-mca(-(\d+))?")


@cache
def program() -> str | None:
    """The newest llvm-mca on PATH: Debian's has its version behind its name, and more models with each."""
    found: dict[int, str] = {}
    for folder in os.get_exec_path():
        for path in sorted(Path(folder).glob("llvm-mca*")):
            if (name := _NAME.fullmatch(path.name)) and os.access(path, os.X_OK):
                found.setdefault(int(name[2] or 0), str(path))
    return found[max(found)] if found else None


def lists(machine: str) -> str:
    """The command that lists processors."""
    return f"{Path(program() or '').name} -mtriple={TRIPLES[machine]} -mcpu=help"


def knows(machine: str, cpu: str) -> bool:
    """Whether there is a processor of this name; there must be a program()."""
    command = [str(program()), f"-mtriple={TRIPLES[machine]}", f"-mcpu={cpu}"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    return "is not a recognized processor" not in done.stderr


def of(loop: Loop, target: Target, cpu: str) -> float | None:
    """Cycles of one run through a loop; None where the model lacks an instruction. There must be a program()."""
    command = [
        str(program()), f"-mtriple={TRIPLES[target.machine]}", f"-mcpu={cpu}", f"-iterations={_ITERATIONS}",
        f"-mattr={target.features(frozenset(target.optional))}", "-resource-pressure=0", "-instruction-info=0",
    ]  # fmt: skip
    done = subprocess.run(command, input=f"{loop}\n", capture_output=True, text=True, check=False)
    total = re.search(r"^Total Cycles:\s+(\d+)", done.stdout, re.MULTILINE)
    return int(total[1]) / _ITERATIONS if total else None

"""Compiles kernels anew for the target at hand and writes, a line each, which vector registers their machine code uses.

Reads keys from standard input. A program of its own: it imports numba.
"""

import re
import sys

from localllm.kernels import objects
from localllm.kernels.jit import Compiler
from localllm.kernels.simd.targets import current, host_features


def main() -> None:
    compiler = Compiler(current(), current().features(host_features()))
    for line in sys.stdin:
        key = objects.Key.parse(line.strip())
        assembly = compiler.assembly(key.resolve())
        used = {register[:3] for register in re.findall(r"%([xyz]mm\d+)", assembly)}
        sys.stdout.write(f"{key} {' '.join(sorted(used))}\n")


if __name__ == "__main__":
    main()

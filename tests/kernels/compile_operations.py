"""Compiles the kernels of operations.py and of tile_operations.py, which adds its own to them.

Writes a line each: its name, and symbol and object code in base64.
"""

import base64
import sys

from localllm.kernels.jit import Compiler
from localllm.kernels.simd.targets import current, host_features
from tests.kernels.tile_operations import KERNELS


def main() -> None:
    compiler = Compiler(current(), current().features(host_features()))
    for name, kernel in KERNELS.items():
        sys.stdout.write(f"{name} {base64.b64encode(compiler.compile(kernel, f'operations-{name}')).decode()}\n")


if __name__ == "__main__":
    main()

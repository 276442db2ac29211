"""Record the errors of llama.cpp's quantizers for the matrices of rounding_cases, and for rows of real models.

python -m tests.kernels.record_rounding path/to/libggml-base.so      # of llama-cpp-python, say; never a dependency
"""

from __future__ import annotations

import ctypes
import json
import sys

import numpy as np

from localllm.kernels.formats.table import FORMATS, Format
from tests import reference
from tests.kernels import rounding_cases as cases
from tests.kernels import rounding_real as real

NEED_IMPORTANCE = ("IQ2_XXS", "IQ2_XS", "IQ1_S")
"""llama.cpp refuses to write them without: all columns count the same here."""


def quantizer(path: str):
    """f(format, x, importance or None): uint8 [n, row_bytes], as llama.cpp makes them."""
    library = ctypes.CDLL(path)
    chunk = library.ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    chunk.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]

    def quantize(fmt: Format, x: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        n, k = x.shape
        out = np.zeros((n, fmt.row_bytes(k)), np.uint8)
        if importance is None and fmt.name in NEED_IMPORTANCE:
            importance = np.ones(k, np.float32)
        weights = None if importance is None else importance.ctypes.data
        chunk(fmt.id, x.ctypes.data, out.ctypes.data, 0, n, k, weights)
        return out

    return quantize


def main() -> None:
    quantize = quantizer(sys.argv[1])
    found = {}
    for fmt in (FORMATS[name] for name in cases.RECORDED):
        for name, x, importance in (*cases.cases(), *real.cases()):
            decoded = reference.dequantize(fmt.name, quantize(fmt, x, importance))
            found[f"{fmt.name} {name}"] = [float(f"{e:.6g}") for e in cases.errors(fmt.name, x, decoded, importance)]
        print(fmt.name, flush=True)
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
    cases.FIGURES.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

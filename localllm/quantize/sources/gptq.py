"""GPTQ checkpoints (arXiv:2210.17323) in the layout of AutoGPTQ and GPTQModel.

For a matrix of n rows and k columns there are qweight int32 [k * bits / 32, n], qzeros int32 [groups, n * bits / 32],
scales [groups, n] and g_idx int32 [k], the group of each column, which is not in order with desc_act. Checkpoints of
the first version store zero points less 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from localllm.errors import FormatError, UnsupportedError
from localllm.quantize.sources.bits import take_columns, unpack_rows
from localllm.quantize.sources.checkpoint import FLOATS, Checkpoint
from localllm.quantize.sources.grids import Matrix, grouped
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.weights import to_float32

PARTS = ("qweight", "qzeros", "scales", "g_idx")
_V1 = "gptq"


def open_matrices(checkpoint: Checkpoint, config: Config) -> dict[str, Matrix]:
    """Packed matrices by their modules' names. Raises FormatError or UnsupportedError."""
    bits = config.integer("bits", high=32)
    if bits not in (4, 8):
        raise UnsupportedError(f"{config.path}: GPTQ of {bits} bits is not read: 4 and 8 are")
    shift = int(config.text("checkpoint_format", _V1) == _V1)
    modules = [name.removesuffix(".qweight") for name in checkpoint.tensors if name.endswith(".qweight")]
    return {module: _matrix(checkpoint, module, bits, config, shift) for module in modules}


def _matrix(checkpoint: Checkpoint, module: str, bits: int, config: Config, shift: int) -> Matrix:
    per_word = 32 // bits
    packed, zeros = (checkpoint.stored(f"{module}.{part}", "I32").shape for part in ("qweight", "qzeros"))
    if len(packed) != 2:
        raise FormatError(f"{checkpoint.folder}: tensor {module}.qweight: has {len(packed)} dimensions, must have 2")
    k, n = packed[0] * per_word, packed[1]
    group, groups = grouped(checkpoint.folder, module, k, config.integer("group_size", low=-1))
    if n % per_word or zeros != (groups, n // per_word):
        raise FormatError(
            f"{checkpoint.folder}: tensor {module}.qzeros: is {list(zeros)}, for {groups} groups of {n} rows"
        )
    if checkpoint.stored(f"{module}.scales", *FLOATS).shape != (groups, n):
        raise FormatError(f"{checkpoint.folder}: tensor {module}.scales: must be [{groups}, {n}]")
    return Matrix(
        (n, k),
        bits,
        group,
        partial(_codes, checkpoint, module, bits),
        partial(_scales, checkpoint, module, bits, shift),
        partial(_columns, checkpoint, module, k, group, groups),
    )


def _codes(checkpoint: Checkpoint, module: str, bits: int, rows: np.ndarray) -> np.ndarray:
    words = np.ascontiguousarray(checkpoint.view(f"{module}.qweight", "I32")[:, rows])
    return np.ascontiguousarray(unpack_rows(words, bits).T)


def _scales(
    checkpoint: Checkpoint, module: str, bits: int, shift: int, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    name = f"{module}.scales"
    scales = to_float32(checkpoint.view(name, *FLOATS)[:, rows].T, checkpoint.tensors[name].dtype)
    zeros = take_columns(checkpoint.view(f"{module}.qzeros", "I32"), rows, bits).T
    return scales, zeros.astype(np.int32) + shift


def _columns(checkpoint: Checkpoint, module: str, k: int, group: int, groups: int) -> np.ndarray | None:
    """The order of desc_act, where it is another than that of the columns."""
    name = f"{module}.g_idx"
    if name not in checkpoint.tensors:
        return None
    found = checkpoint.view(name, "I32")
    if found.shape != (k,) or found.min() < 0 or found.max() >= groups:
        raise FormatError(f"{checkpoint.folder}: tensor {name}: must be [{k}] with groups from 0 to {groups - 1}")
    return None if np.array_equal(found, np.arange(k) // group) else found.astype(np.int64)

"""AWQ checkpoints (arXiv:2306.00978) in the layouts of AutoAWQ, 4 bits.

gemm: qweight int32 [k, n / 8], qzeros int32 [groups, n / 8], scales [groups, n]; a word holds eight rows of the matrix
in the order 0, 2, 4, 6, 1, 3, 5, 7. gemv: qweight int32 [n, k / 8] and qzeros int32 [n, ...], in order, and scales
[n, ...]; past the groups there is padding.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from localllm.errors import FormatError, UnsupportedError
from localllm.quantize.sources.bits import take_columns, unpack_columns
from localllm.quantize.sources.checkpoint import FLOATS, Checkpoint
from localllm.quantize.sources.grids import Matrix, grouped
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.weights import to_float32

PARTS = ("qweight", "qzeros", "scales")
_BITS, _PER_WORD = 4, 8
_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def open_matrices(checkpoint: Checkpoint, config: Config) -> dict[str, Matrix]:
    """Packed matrices by their modules' names. Raises FormatError or UnsupportedError."""
    bits = config.integer("bits", "w_bit", high=32)
    version = config.text("version", "gemm").lower()
    if bits != _BITS or version not in _LAYOUTS:
        problem = f"AWQ of {bits} bits in the layout {version:.20} is not read: 4 bits in {' or '.join(_LAYOUTS)} are"
        raise UnsupportedError(f"{config.path}: {problem}")
    modules = [name.removesuffix(".qweight") for name in checkpoint.tensors if name.endswith(".qweight")]
    return {module: _LAYOUTS[version](checkpoint, module, config) for module in modules}


def _grouped(checkpoint: Checkpoint, module: str, config: Config, k: int) -> tuple[int, int]:
    return grouped(checkpoint.folder, module, k, config.integer("group_size", "q_group_size", low=-1))


def _gemm(checkpoint: Checkpoint, module: str, config: Config) -> Matrix:
    packed = _packed(checkpoint, module)
    k, n = packed[0], packed[1] * _PER_WORD
    group, groups = _grouped(checkpoint, module, config, k)
    _require(checkpoint, f"{module}.qzeros", (groups, packed[1]), "I32")
    _require(checkpoint, f"{module}.scales", (groups, n), *FLOATS)
    codes, scales = partial(_gemm_codes, checkpoint, module), partial(_gemm_scales, checkpoint, module)
    return Matrix((n, k), _BITS, group, codes, scales, _in_order)


def _gemm_codes(checkpoint: Checkpoint, module: str, rows: np.ndarray) -> np.ndarray:
    words = checkpoint.view(f"{module}.qweight", "I32")
    return np.ascontiguousarray(take_columns(words, rows, _BITS, _ORDER).T)


def _gemm_scales(checkpoint: Checkpoint, module: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    name = f"{module}.scales"
    scales = to_float32(checkpoint.view(name, *FLOATS)[:, rows].T, checkpoint.tensors[name].dtype)
    zeros = take_columns(checkpoint.view(f"{module}.qzeros", "I32"), rows, _BITS, _ORDER).T
    return scales, zeros.astype(np.int32)


def _gemv(checkpoint: Checkpoint, module: str, config: Config) -> Matrix:
    packed = _packed(checkpoint, module)
    n, k = packed[0], packed[1] * _PER_WORD
    group, groups = _grouped(checkpoint, module, config, k)
    for part, least, dtypes in (("qzeros", -(-groups // _PER_WORD), ("I32",)), ("scales", groups, FLOATS)):
        shape = checkpoint.stored(f"{module}.{part}", *dtypes).shape
        if len(shape) != 2 or shape[0] != n or shape[1] < least:
            raise FormatError(f"{checkpoint.folder}: tensor {module}.{part}: is {list(shape)}, must be [{n}, {least}]")
    scales = partial(_gemv_scales, checkpoint, module, groups)
    return Matrix((n, k), _BITS, group, partial(_gemv_codes, checkpoint, module), scales, _in_order)


def _gemv_codes(checkpoint: Checkpoint, module: str, rows: np.ndarray) -> np.ndarray:
    return unpack_columns(checkpoint.view(f"{module}.qweight", "I32")[rows], _BITS)


def _gemv_scales(checkpoint: Checkpoint, module: str, groups: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    name = f"{module}.scales"
    scales = to_float32(checkpoint.view(name, *FLOATS)[rows, :groups], checkpoint.tensors[name].dtype)
    zeros = unpack_columns(checkpoint.view(f"{module}.qzeros", "I32")[rows], _BITS)[:, :groups]
    return scales, zeros.astype(np.int32)


_LAYOUTS = {"gemm": _gemm, "gemv": _gemv}


def _in_order() -> None:
    return None


def _packed(checkpoint: Checkpoint, module: str) -> tuple[int, int]:
    shape = checkpoint.stored(f"{module}.qweight", "I32").shape
    if len(shape) != 2:
        raise FormatError(f"{checkpoint.folder}: tensor {module}.qweight: has {len(shape)} dimensions, must have 2")
    return shape[0], shape[1]


def _require(checkpoint: Checkpoint, name: str, shape: tuple[int, int], *dtypes: str) -> None:
    found = checkpoint.stored(name, *dtypes).shape
    if found != shape:
        raise FormatError(f"{checkpoint.folder}: tensor {name}: is {list(found)}, must be {list(shape)}")

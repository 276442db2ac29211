"""Checkpoints of compressed-tensors (LLM Compressor): integers of 4 or 8 bits, https://github.com/vllm-project/compressed-tensors.

pack-quantized: weight_packed int32 [n, k * bits / 32] in order, weight_shape, weight_scale [n, groups], perhaps
weight_zero_point (int8 [n, groups], or int32 [n * bits / 32, groups]) and weight_g_idx. int-quantized and
naive-quantized: weight int8 [n, k], weight_scale, perhaps weight_zero_point int8. Codes and zero points are signed;
packed ones are stored with half of the range added. float-quantized: see fp8.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from localllm.errors import FormatError, UnsupportedError
from localllm.quantize.sources import fp8
from localllm.quantize.sources.bits import unpack_columns, unpack_rows
from localllm.quantize.sources.checkpoint import FLOATS, Checkpoint
from localllm.quantize.sources.grids import Matrix, grouped
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.weights import to_float32

PARTS = ("weight_packed", "weight_shape", "weight_scale", "weight_zero_point", "weight_g_idx", "input_scale")
_PACKED, _FLOATS = "pack-quantized", "float-quantized"
_PLAIN = ("int-quantized", "naive-quantized")
_STRATEGIES = ("group", "channel", "tensor")


def open_matrices(checkpoint: Checkpoint, config: Config) -> Mapping[str, Matrix | fp8.FloatMatrix]:
    """Packed matrices by their modules' names. Raises FormatError or UnsupportedError."""
    layout = config.text("format")
    if layout == _FLOATS:
        return fp8.open_matrices(checkpoint, Config(config.path, {}))
    weights = _weights(config)
    bits, kind = weights.integer("num_bits", high=32), weights.text("type", "int")
    if layout not in (_PACKED, *_PLAIN) or kind != "int" or bits not in (4, 8) or (layout in _PLAIN and bits != 8):
        problem = f"{layout:.40} of {bits} bits ({kind:.20}) is not read: {_PACKED} of 4 or 8 and {_PLAIN[0]} of 8 are"
        raise UnsupportedError(f"{config.path}: {problem}")
    if (strategy := weights.text("strategy", "tensor")) not in _STRATEGIES:
        raise UnsupportedError(
            f"{config.path}: the strategy {strategy!r:.40} is not read: {', '.join(_STRATEGIES)} are"
        )
    suffix = ".weight_packed" if layout == _PACKED else ".weight_scale"
    modules = [name.removesuffix(suffix) for name in checkpoint.tensors if name.endswith(suffix)]
    group = weights.integer("group_size", low=-1, default=-1) if strategy == "group" else -1
    return {module: _matrix(checkpoint, module, bits, group, layout == _PACKED) for module in modules}


def _weights(config: Config) -> Config:
    """How weights are quantized. One group of modules is read: those that are left out are float."""
    groups = config.inner("config_groups").values
    if len(groups) != 1:
        raise UnsupportedError(f"{config.path}: {len(groups)} config_groups are not read: one is")
    (name,) = groups
    return config.inner("config_groups").inner(name).inner("weights")


def _matrix(checkpoint: Checkpoint, module: str, bits: int, group: int, packed: bool) -> Matrix:
    shape = _shape(checkpoint, module, bits) if packed else checkpoint.stored(f"{module}.weight", "I8").shape
    if len(shape) != 2:
        raise FormatError(f"{checkpoint.folder}: tensor {module}.weight: has {len(shape)} dimensions, must have 2")
    n, k = shape
    group, groups = grouped(checkpoint.folder, module, k, group)
    scale = checkpoint.stored(f"{module}.weight_scale", *FLOATS).shape
    if scale not in ((n, groups), (groups,), ()) or (scale != (n, groups) and groups != 1):
        raise FormatError(
            f"{checkpoint.folder}: tensor {module}.weight_scale: is {list(scale)}, must be [{n}, {groups}]"
        )
    _check_zeros(checkpoint, f"{module}.weight_zero_point", bits, n, groups)
    return Matrix(
        (n, k),
        bits,
        group,
        partial(_packed_codes if packed else _plain_codes, checkpoint, module, bits, k),
        partial(_scales, checkpoint, module, bits, (n, groups)),
        partial(_columns, checkpoint, f"{module}.weight_g_idx", k, group, groups),
    )


def _shape(checkpoint: Checkpoint, module: str, bits: int) -> tuple[int, ...]:
    """What weight_shape says, where weight_packed has room for just that."""
    stored = checkpoint.stored(f"{module}.weight_packed", "I32").shape
    said = checkpoint.view(f"{module}.weight_shape", "I64", "I32")
    shape = tuple(int(length) for length in said) if said.shape == (2,) else ()
    if len(shape) != 2 or shape[1] < 1 or stored != (shape[0], -(-shape[1] * bits // 32)):
        problem = f"is {list(stored)}, which is no matrix of weight_shape, {list(shape)}"
        raise FormatError(f"{checkpoint.folder}: tensor {module}.weight_packed: {problem}")
    return shape


def _check_zeros(checkpoint: Checkpoint, name: str, bits: int, n: int, groups: int) -> None:
    if name not in checkpoint.tensors:
        return
    stored = checkpoint.stored(name, "I8", "I32")
    wanted = (-(-n * bits // 32), groups) if stored.dtype == "I32" else (n, groups)
    if stored.shape != wanted and not (groups == 1 and stored.dtype == "I8" and stored.shape in ((1,), ())):
        raise FormatError(f"{checkpoint.folder}: tensor {name}: is {list(stored.shape)}, must be {list(wanted)}")


def _packed_codes(checkpoint: Checkpoint, module: str, bits: int, k: int, rows: np.ndarray) -> np.ndarray:
    return unpack_columns(checkpoint.view(f"{module}.weight_packed", "I32")[rows], bits)[:, :k]


def _plain_codes(checkpoint: Checkpoint, module: str, bits: int, k: int, rows: np.ndarray) -> np.ndarray:
    codes: np.ndarray = checkpoint.view(f"{module}.weight", "I8")[rows].view(np.uint8) ^ np.uint8(1 << (bits - 1))
    return codes


def _scales(
    checkpoint: Checkpoint, module: str, bits: int, shape: tuple[int, int], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    name, half = f"{module}.weight_scale", 1 << (bits - 1)
    scales = to_float32(np.broadcast_to(checkpoint.view(name, *FLOATS), shape)[rows], checkpoint.tensors[name].dtype)
    name = f"{module}.weight_zero_point"
    if name not in checkpoint.tensors:
        return scales, np.full(scales.shape, half, np.int32)
    zeros = checkpoint.view(name, "I8", "I32")
    if zeros.dtype == np.int32:
        return scales, unpack_rows(np.ascontiguousarray(zeros), bits)[rows].astype(np.int32)
    return scales, np.broadcast_to(zeros, shape)[rows].astype(np.int32) + half


def _columns(checkpoint: Checkpoint, name: str, k: int, group: int, groups: int) -> np.ndarray | None:
    """The groups of columns that were ordered by their activations, where they are."""
    if name not in checkpoint.tensors:
        return None
    found = checkpoint.view(name, "I32", "I64")
    if found.shape != (k,) or found.min() < 0 or found.max() >= groups:
        raise FormatError(f"{checkpoint.folder}: tensor {name}: must be [{k}] with groups from 0 to {groups - 1}")
    return None if np.array_equal(found, np.arange(k) // group) else found.astype(np.int64)

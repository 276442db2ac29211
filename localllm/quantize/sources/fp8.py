"""Checkpoints of 8-bit floats (E4M3, arXiv:2209.05433) with scales a matrix, a row, or a rectangle of elements.

quant_method fp8 (Qwen, DeepSeek, Mistral): weight F8_E4M3 [n, k] and weight_scale_inv, one scale for each rectangle of
weight_block_size; or weight_scale, one for all. compressed-tensors has the same as float-quantized, with weight_scale
[n, 1] or [1]. Scales of activations are not needed. No format of GGUF holds such elements: they are read as floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from localllm.errors import FormatError
from localllm.quantize.sources.checkpoint import FLOATS, Checkpoint
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.weights import to_float32

if TYPE_CHECKING:
    from localllm.quantize.sources.weights import Index

TYPE = "F8_E4M3"
_SCALES = ("weight_scale_inv", "weight_scale")
PARTS = (*_SCALES, "activation_scale", "input_scale", "weight_zero_point")


def _values() -> np.ndarray:
    """float32 [256]: the number that each byte stands for; 0x7F and 0xFF are NaN."""
    codes = np.arange(256)
    exponent, fraction = codes >> 3 & 15, codes & 7
    size = np.where(exponent > 0, np.ldexp(1 + fraction / 8, exponent - 7), np.ldexp(fraction / 8, -6))
    size[[0x7F, 0xFF]] = np.nan
    return np.where(codes < 128, size, -size).astype(np.float32)


_VALUES = _values()


@dataclass
class FloatMatrix:
    """A matrix [n, k] of 8-bit floats; block: rows and columns that share a scale."""

    checkpoint: Checkpoint
    module: str
    scale: str
    shape: tuple[int, int]
    block: tuple[int, int]

    def read(self, rows: Index) -> np.ndarray:
        """float32 [n, k]."""
        n, k = self.shape
        at = np.arange(n)[rows]
        stored = self.checkpoint.view(self.scale, *FLOATS)
        scales = to_float32(stored, self.checkpoint.tensors[self.scale].dtype).reshape(-(-n // self.block[0]), -1)
        x: np.ndarray = _VALUES[self.checkpoint.view(f"{self.module}.weight", TYPE)[at]]
        x *= np.repeat(scales[at // self.block[0]], self.block[1], axis=1)[:, :k]
        return x

    def encoded(self, format: str, rows: Index) -> np.ndarray | None:
        return None

    def nearest(self) -> str:
        return "BF16"


def open_matrices(checkpoint: Checkpoint, config: Config) -> dict[str, FloatMatrix]:
    """Matrices by their modules' names. Raises FormatError."""
    size = config.values.get("weight_block_size")
    if size is not None and not (
        isinstance(size, list) and len(size) == 2 and all(type(x) is int and 0 < x < 1 << 20 for x in size)
    ):
        raise config.fail("weight_block_size", f"is {size!r:.40}, must be two integers above 0")
    names = [name for name, stored in checkpoint.tensors.items() if stored.dtype == TYPE and name.endswith(".weight")]
    modules = [name.removesuffix(".weight") for name in names]
    return {module: _matrix(checkpoint, module, size) for module in modules}


def _matrix(checkpoint: Checkpoint, module: str, size: list[int] | None) -> FloatMatrix:
    shape = checkpoint.tensors[f"{module}.weight"].shape
    scale = next((f"{module}.{part}" for part in _SCALES if f"{module}.{part}" in checkpoint.tensors), "")
    if len(shape) != 2 or not scale:
        raise FormatError(f"{checkpoint.folder}: tensor {module}.weight: must be a matrix with {' or '.join(_SCALES)}")
    n, k = shape
    found = checkpoint.stored(scale, *FLOATS).shape
    blocks = {(): (n, k), (1,): (n, k), (1, 1): (n, k), (n,): (1, k), (n, 1): (1, k)}
    if size is not None:
        blocks = {(-(-n // size[0]), -(-k // size[1])): (size[0], size[1])}
    if found not in blocks:
        problem = f"is {list(found)}, must be {' or '.join(str(list(shape)) for shape in blocks)}"
        raise FormatError(f"{checkpoint.folder}: tensor {scale}: {problem}")
    return FloatMatrix(checkpoint, module, scale, (n, k), blocks[found])

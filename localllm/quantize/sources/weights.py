"""Matrices and vectors of a checkpoint under the names that transformers' classes give them, whatever holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from localllm.errors import FormatError
from localllm.quantize.sources.checkpoint import FLOATS, Checkpoint

if TYPE_CHECKING:
    import numpy as np

    from localllm.kernels.formats.table import Format

    Index = slice | np.ndarray
    """Which of a tensor's first axis, its rows, or the elements of a vector: a range, or a list in any order."""


@dataclass(frozen=True)
class Weight:
    """A tensor as its class in transformers has it: shape rows first; format the GGUF format that is nearest to it."""

    shape: tuple[int, ...]
    format: str


class Weights(Protocol):
    """Where weights come from: float tensors as they are, or matrices that GPTQ or its like has packed."""

    @property
    def tensors(self) -> Mapping[str, Weight]: ...

    def read(self, name: str, rows: Index) -> np.ndarray:
        """float32: the rows [n, k], or the elements [n] of a vector."""
        ...

    def encoded(self, name: str, format: Format, rows: Index) -> np.ndarray | None:
        """uint8 [n, row_bytes] where the rows are in `format` without any loss, else None."""
        ...


class FloatWeights(Weights):
    """Tensors of F32, F16 or BF16; others are listed, and refused when they are read."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._tensors = {name: Weight(stored.shape, stored.dtype) for name, stored in checkpoint.tensors.items()}

    @property
    def tensors(self) -> Mapping[str, Weight]:
        return self._tensors

    def read(self, name: str, rows: Index) -> np.ndarray:
        return to_float32(self._checkpoint.view(name, *FLOATS)[rows], self._tensors[name].format)

    def encoded(self, name: str, format: Format, rows: Index) -> np.ndarray | None:
        import numpy as np

        if format.name != self._tensors[name].format:
            return None
        return np.ascontiguousarray(self._checkpoint.view(name, *FLOATS)[rows]).view(np.uint8)


READABLE = (*FLOATS, "Q4_0", "Q4_1", "Q5_0", "Q8_0")
"""Formats of weights: safetensors' own, and those that packed matrices are kept in."""


def to_float32(x: np.ndarray, dtype: str) -> np.ndarray:
    """A contiguous float32 copy of values of the safetensors type `dtype`; BF16 comes as uint16."""
    import numpy as np

    if dtype == "BF16":
        return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.array(x, np.float32, order="C")


def require_shape(path: object, name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raises FormatError where a tensor's shape is another than the configuration's numbers give."""
    if shape != wanted:
        raise FormatError(f"{path}: tensor {name}: its shape is {list(shape)}, must be {list(wanted)} by config.json")

"""Rounding with error correction (GPTQ, arXiv 2210.17323): later columns make up for the errors of those before.

Needs the full second moments of each matrix's inputs: `localllm calibrate --hessians`. Formats are the usual ones. The
same calibration, NumPy and processor give the same bits, for any -t, while NumPy's products have one thread, as
`localllm quantize` sets it (OPENBLAS_NUM_THREADS); they may sum in another order elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from localllm.errors import FormatError, UsageError
from localllm.kernels.formats.table import Format
from localllm.quantize.feedback import Factor, corrected, factorize
from localllm.quantize.methods import Method
from localllm.quantize.methods.imatrix import importance_of
from localllm.quantize.source import SourceTensor

if TYPE_CHECKING:
    from localllm.quantize.calibration import Calibration
    from localllm.quantize.encode import Encoder


class WithFeedback(Method):
    """Tensors without a Hessian are rounded by importance, as embeddings that are looked up, not multiplied."""

    def __init__(self, calibration: Calibration, encoder: Encoder) -> None:
        self._calibration = calibration
        self._encoder = encoder
        self._without: dict[str, None] = {}
        self._name = ("", 0)
        self._hessian: np.ndarray | None = None
        self._factors: dict[int, Factor] = {}
        """By the size of blocks; of `_hessian`, which tensors that read the same input share."""

    def encode(self, tensor: SourceTensor, x: np.ndarray, format: Format, matrix: int = 0) -> np.ndarray:
        """See Method."""
        hessian = self.hessian(tensor, matrix)
        if hessian is None:
            self._without[tensor.name] = None
            return self._encoder.encode(format, x, importance_of(self._calibration, tensor, matrix))
        if format.block not in self._factors:
            self._factors[format.block] = factorize(hessian, format.block)
        return corrected(format, x, self._factors[format.block], self._encoder)

    def notes(self) -> list[str]:
        """See Method."""
        if not self._without:
            return []
        more = f" and {len(self._without) - 1} more tensors" if len(self._without) > 1 else ""
        return [f"{next(iter(self._without))}{more}: no Hessian, so rounded by importance"]

    def hessian(self, tensor: SourceTensor, matrix: int) -> np.ndarray | None:
        """Of one matrix of the tensor: float32 [k, k]. Raises FormatError where it belongs to another model."""
        if (tensor.name, matrix) != self._name:
            found = hessian_of(self._calibration, tensor, matrix)
            same = found is not None and self._hessian is not None and np.array_equal(found, self._hessian)
            if not same:
                self._hessian, self._factors = found, {}
            self._name = (tensor.name, matrix)
        return self._hessian


def hessian_of(
    calibration: Calibration, tensor: SourceTensor, matrix: int, held_back: bool = False
) -> np.ndarray | None:
    """float32 [k, k]; None where the calibration has none, or saw no input of this matrix (an expert never chosen).

    Raises FormatError where the calibration belongs to another model.
    """
    shape, n_matrices = calibration.hessian_shape(tensor.name), tensor.shape[2] if len(tensor.shape) > 2 else 1
    if shape is None:
        return None
    if shape != (n_matrices, tensor.k):
        raise FormatError(
            f"the Hessian of tensor {tensor.name} has shape {shape}, must have {(n_matrices, tensor.k)}: it belongs to "
            "another model"
        )
    mine = calibration.hessian(tensor.name, held_back, matrix)
    return mine if mine is not None and np.diag(mine).any() else None


def method(calibration: Calibration | None, encoder: Encoder) -> WithFeedback:
    """See Row."""
    if calibration is None:
        raise UsageError("the method gptq needs a file of calibration: --imatrix FILE")
    if not calibration.has_hessians:
        raise UsageError(
            "the method gptq needs Hessians beside the calibration: `localllm calibrate --hessians` writes them"
        )
    return WithFeedback(calibration, encoder)

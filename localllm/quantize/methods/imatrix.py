"""Rounding by importance: squared errors weigh by the mean square of the input that a column is multiplied with.

The importance matrix of llama.cpp (https://github.com/ggml-org/llama.cpp/pull/4861): to first order this is the error
of the matrix's output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm.errors import FormatError, UsageError
from localllm.kernels.formats.table import Format
from localllm.quantize.methods import Method
from localllm.quantize.source import SourceTensor

if TYPE_CHECKING:
    import numpy as np

    from localllm.quantize.calibration import Calibration
    from localllm.quantize.encode import Encoder


class ByImportance(Method):
    """Tensors that the calibration does not have, such as embeddings, are rounded plainly."""

    def __init__(self, calibration: Calibration, encoder: Encoder) -> None:
        self._calibration = calibration
        self._encoder = encoder

    def encode(self, tensor: SourceTensor, x: np.ndarray, format: Format, matrix: int = 0) -> np.ndarray:
        """See Method."""
        return self._encoder.encode(format, x, importance_of(self._calibration, tensor, matrix))


def importance_of(calibration: Calibration, tensor: SourceTensor, matrix: int) -> np.ndarray | None:
    """float32 [k]: of one matrix of the tensor; None where the calibration does not have the tensor.

    Raises FormatError where the calibration belongs to another model.
    """
    if tensor.name not in calibration:
        return None
    n_matrices = tensor.shape[2] if len(tensor.shape) > 2 else 1
    try:
        found = calibration.importance(tensor.name, tensor.k)
    except ValueError as error:
        raise FormatError(f"the calibration of tensor {tensor.name} {error}: it belongs to another model") from None
    if found is None or found.ndim == 1:
        return found
    if len(found) != n_matrices:
        problem = f"is of {len(found)} matrices, it has {n_matrices}: it belongs to another model"
        raise FormatError(f"the calibration of tensor {tensor.name} {problem}")
    row: np.ndarray = found[matrix]
    return row


def method(calibration: Calibration | None, encoder: Encoder) -> ByImportance:
    """See Row."""
    if calibration is None:
        raise UsageError("the method imatrix needs a file of calibration: --imatrix FILE")
    return ByImportance(calibration, encoder)

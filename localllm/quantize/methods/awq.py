"""Scales by activations (AWQ, arXiv 2306.00978): columns with large inputs are enlarged before rounding.

They lose less so; what makes these inputs is made smaller by as much (localllm.quantize.folds).

A column's scale is the root mean square of its input to the power alpha; alpha is what gives the least output error
tr(ΔW H ΔWᵀ) of a sample of rows. The scaled weights are then rounded by importance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from localllm.errors import UnsupportedError, UsageError
from localllm.kernels.formats.table import Format
from localllm.quantize.feedback import output_error, sampled_rows
from localllm.quantize.folds import ARCHITECTURES, Fold, Scaled, folds
from localllm.quantize.methods import Method
from localllm.quantize.methods.gptq import hessian_of
from localllm.quantize.methods.imatrix import importance_of
from localllm.quantize.source import Source, SourceTensor

if TYPE_CHECKING:
    from localllm.quantize.calibration import Calibration
    from localllm.quantize.encode import Encoder

_ALPHAS = tuple(i / 10 for i in range(11))
_SAMPLED_ROWS = 96
_FLOATS = ("F32", "F16", "BF16")


class Scaling(Method):
    """Tensors that no scale can be folded out of, or that have no Hessian, are rounded by importance."""

    def __init__(self, calibration: Calibration, encoder: Encoder) -> None:
        self._calibration, self._encoder = calibration, encoder
        self._scaled: Scaled | None = None
        self._alphas: list[float] = []

    def prepare(self, source: Source, formats: Mapping[str, Format]) -> Source:
        """See Method. Raises UnsupportedError for architectures whose structure is not known."""
        found = folds(source)
        if not found:
            architecture = source.metadata.get("general.architecture")
            name = architecture.value if architecture else "a file without general.architecture"
            raise UnsupportedError(
                f"{source.path}: the method awq does not know where scales can go in {name}; it knows "
                f"{', '.join(ARCHITECTURES)}"
            )
        self._scaled = Scaled(source)
        for fold in found:
            if all(formats[name].name not in _FLOATS for name in fold.consumers):
                self._search(source, fold, formats)
        return self._scaled

    def encode(self, tensor: SourceTensor, x: np.ndarray, format: Format, matrix: int = 0) -> np.ndarray:
        """See Method."""
        importance = importance_of(self._calibration, tensor, matrix)
        columns = self._scaled.columns.get(tensor.name) if self._scaled else None
        if importance is not None and columns is not None:
            importance = importance / np.square(columns)
        return self._encoder.encode(format, x, importance)

    def notes(self) -> list[str]:
        """See Method."""
        used, mean = sum(alpha > 0 for alpha in self._alphas), np.mean(self._alphas or [0])
        return [f"{used} of {len(self._alphas)} groups of matrices were scaled, alpha {mean:.2f} on average"]

    def _search(self, source: Source, fold: Fold, formats: Mapping[str, Format]) -> None:
        """Find alpha, and fold its scales in."""
        first = source.tensors[fold.consumers[0]]
        hessian = hessian_of(self._calibration, first, 0)
        if hessian is None:
            return
        squares = fold.of_rows(np.diag(hessian).astype(np.float64))
        root = np.sqrt(squares + 1e-4 * squares.mean())
        samples = {
            name: sampled_rows(source, name, source.tensors[name].n_rows, _SAMPLED_ROWS) for name in fold.consumers
        }
        errors = []
        for alpha in _ALPHAS:
            scales = _normed(root**alpha)
            by = fold.of_columns(scales)
            errors.append(sum(self._error(x, by, hessian, formats[name]) for name, x in samples.items()))
        alpha = _ALPHAS[int(np.argmin(errors))]
        self._alphas.append(alpha)
        if alpha > 0:
            assert self._scaled
            self._scaled.fold(fold, _normed(root**alpha))

    def _error(self, x: np.ndarray, by: np.ndarray, hessian: np.ndarray, format: Format) -> float:
        raw = self._encoder.encode(format, x * by, (np.diag(hessian) / np.square(by)).astype(np.float32))
        return output_error(self._encoder.decode(format, raw, x.shape[1]) / by - x, hessian)


def _normed(scales: np.ndarray) -> np.ndarray:
    """Around 1, so that weights stay in the range of their format."""
    normed: np.ndarray = (scales / np.sqrt(scales.max() * scales.min())).astype(np.float32)
    return normed


def method(calibration: Calibration | None, encoder: Encoder) -> Scaling:
    """See Row."""
    if calibration is None or not calibration.has_hessians:
        raise UsageError(
            "the method awq needs calibration with Hessians: --imatrix FILE of `localllm calibrate --hessians`"
        )
    return Scaling(calibration, encoder)

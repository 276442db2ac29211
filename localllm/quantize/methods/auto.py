"""The nearest of all: each matrix is rounded by every method, and that one is taken whose output is nearest.

Judged by tr(ΔW H ΔWᵀ) with the second moments H of text that `localllm calibrate` held back: no method has seen it, so
one that fits itself to the calibration text has no advantage.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from localllm.errors import UsageError
from localllm.kernels.formats.table import Format
from localllm.quantize.feedback import output_error
from localllm.quantize.methods import Method
from localllm.quantize.methods.gptq import WithFeedback, hessian_of
from localllm.quantize.methods.imatrix import ByImportance
from localllm.quantize.methods.plain import Plain
from localllm.quantize.source import SourceTensor

if TYPE_CHECKING:
    import numpy as np

    from localllm.quantize.calibration import Calibration
    from localllm.quantize.encode import Encoder


class Nearest(Method):
    """Tensors without a Hessian are rounded by importance."""

    def __init__(self, calibration: Calibration, encoder: Encoder) -> None:
        self._calibration, self._encoder = calibration, encoder
        self._rivals: dict[str, Method] = {
            "gptq": WithFeedback(calibration, encoder),
            "imatrix": ByImportance(calibration, encoder),
            "plain": Plain(encoder),
        }
        self._best: dict[tuple[str, int], str] = {}
        """Of each matrix the rival that was the nearest for its first rows."""

    def encode(self, tensor: SourceTensor, x: np.ndarray, format: Format, matrix: int = 0) -> np.ndarray:
        """See Method."""
        judge = hessian_of(self._calibration, tensor, matrix, held_back=True)
        if judge is None:
            return self._rivals["gptq"].encode(tensor, x, format, matrix)
        if known := self._best.get((tensor.name, matrix)):
            return self._rivals[known].encode(tensor, x, format, matrix)
        raws = {name: rival.encode(tensor, x, format, matrix) for name, rival in self._rivals.items()}
        errors = {
            name: output_error(self._encoder.decode(format, raw, tensor.k) - x, judge) for name, raw in raws.items()
        }
        best = self._best[tensor.name, matrix] = min(errors, key=errors.__getitem__)
        return raws[best]

    def notes(self) -> list[str]:
        """See Method."""
        taken = ", ".join(f"{name} for {n}" for name, n in Counter(self._best.values()).most_common())
        return [f"nearest on held-back text: {taken} matrices", *self._rivals["gptq"].notes()] if taken else []


def method(calibration: Calibration | None, encoder: Encoder) -> Nearest:
    """See Row."""
    if calibration is None or not calibration.has_hessians:
        raise UsageError(
            "the method auto needs calibration with Hessians: --imatrix FILE of `localllm calibrate --hessians`"
        )
    return Nearest(calibration, encoder)

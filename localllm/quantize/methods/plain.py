"""Plain rounding: each row by itself, all columns alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm.kernels.formats.table import Format
from localllm.quantize.methods import Method
from localllm.quantize.source import SourceTensor

if TYPE_CHECKING:
    import numpy as np

    from localllm.quantize.calibration import Calibration
    from localllm.quantize.encode import Encoder


class Plain(Method):
    """Needs no calibration."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def encode(self, tensor: SourceTensor, x: np.ndarray, format: Format, matrix: int = 0) -> np.ndarray:
        """See Method."""
        return self._encoder.encode(format, x)


def method(calibration: Calibration | None, encoder: Encoder) -> Plain:
    """See Row."""
    return Plain(encoder)

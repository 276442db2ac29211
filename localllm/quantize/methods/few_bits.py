"""Formats of one and two bits for weights that were trained so (BitNet): what any other model loses is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from localllm.quantize.methods import Method

if TYPE_CHECKING:
    from localllm.kernels.formats.table import Format
    from localllm.quantize.encode import Encoder
    from localllm.quantize.source import Source, SourceTensor

FORMATS = ("TQ1_0", "TQ2_0", "Q1_0", "Q2_0")
_EXACT = 0.001
"""Up to this share of the weights' squares, a loss comes from 16-bit scales alone."""
_SAMPLE = 16
"""Rows of each piece that are looked at."""


class FewBits(Method):
    """Another method; it notes how much of their squares weights lost that were not trained for such a format."""

    def __init__(self, other: Method, encoder: Encoder) -> None:
        self._other = other
        self._encoder = encoder
        self._losses: dict[str, dict[str, float]] = {}
        """By format and tensor: the share of the squares, of the last piece that was looked at."""

    def prepare(self, source: Source, formats: Mapping[str, Format]) -> Source:
        """See Method."""
        return self._other.prepare(source, formats)

    def encode(self, tensor: SourceTensor, x: np.ndarray, format: Format, matrix: int = 0) -> np.ndarray:
        """See Method."""
        raw = self._other.encode(tensor, x, format, matrix)
        if format.name in FORMATS:
            rows = np.linspace(0, len(x) - 1, min(_SAMPLE, len(x))).astype(np.int64)
            left = self._encoder.decode(format, np.ascontiguousarray(raw[rows]), tensor.k) - x[rows]
            squares = float(np.square(x[rows], dtype=np.float64).sum())
            loss = float(np.square(left, dtype=np.float64).sum()) / squares if squares else 0.0
            self._losses.setdefault(format.name, {})[tensor.name] = loss
        return raw

    def notes(self) -> list[str]:
        """A line for each format whose weights were not trained for it."""
        notes = self._other.notes()
        for name, losses in self._losses.items():
            lost = [loss for loss in losses.values() if loss > _EXACT]
            if lost:
                notes.append(
                    f"{len(lost)} of {len(losses)} tensors in {name} were not trained for it and lost "
                    f"{sum(lost) / len(lost):.0%} of their squares: expect answers without sense; more bits, or a "
                    "smaller model in 4 bits, serve better"
                )
        return notes

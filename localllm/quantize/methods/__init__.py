"""Methods of rounding a tensor to a format: one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from localllm.errors import UsageError
from localllm.kernels.formats.table import Format
from localllm.quantize.source import Source, SourceTensor

if TYPE_CHECKING:
    import numpy as np

    from localllm.quantize.calibration import Calibration
    from localllm.quantize.encode import Encoder


class Method(Protocol):
    """One way to round. An object serves one job: it may keep what tensors with the same input share."""

    def prepare(self, source: Source, formats: Mapping[str, Format]) -> Source:
        """What is rounded in place of the source: the same model, whose tensors may be others. Raises LocalllmError."""
        return source

    def encode(self, tensor: SourceTensor, x: np.ndarray, format: Format, matrix: int = 0) -> np.ndarray:
        """Rows of a matrix as uint8 [n, row_bytes].

        x: float32 [n, k], consecutive rows: all of the matrix, or a part where it is large. matrix: its number where
        the tensor holds several (experts). Raises LocalllmError.
        """
        ...

    def notes(self) -> list[str]:
        """What the user should know of what was done, once the job has ended."""
        return []


@dataclass(frozen=True)
class Row:
    """A method: its file here, which defines `method(calibration, encoder) -> Method`, and what it needs."""

    name: str
    about: str
    calibrated: bool
    """Needs a file of calibration (--imatrix)."""


METHODS: dict[str, Row] = {
    "plain": Row("plain", "nearest values: the least squared error of the weights", calibrated=False),
    "imatrix": Row("imatrix", "columns with large inputs weigh more", calibrated=True),
    "gptq": Row("gptq", "later columns make up for the errors of earlier ones (GPTQ)", calibrated=True),
    "awq": Row("awq", "columns with large inputs are enlarged, what makes these inputs reduced (AWQ)", calibrated=True),
    "auto": Row("auto", "for each matrix the nearest of plain, imatrix and gptq on text held back", calibrated=True),
}


def method(name: str) -> Callable[[Calibration | None, Encoder], Method]:
    """What makes the method of that name. Raises UsageError that lists the names."""
    if name not in METHODS:
        raise UsageError(f"there is no method {name!r}; methods are {', '.join(METHODS)}")
    made: Callable[[Calibration | None, Encoder], Method] = import_module(f"{__name__}.{name}").method
    return made

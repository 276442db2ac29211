"""From a source to a file: every tensor in its format, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from localllm.errors import LocalllmError, UnsupportedError
from localllm.kernels.formats.table import Format
from localllm.quantize.encode import Encoder
from localllm.quantize.methods import Method
from localllm.quantize.source import Source, SourceTensor, Typed
from localllm.quantize.writer import Output, Planned, written

SLICE = 1 << 25
"""Elements of a matrix that are encoded at once, 128 MiB of float32: bounds the memory that a large matrix takes."""
_FLOATS = ("F32", "F16", "BF16")

Progress = Callable[[int, int, int, int], None]
"""(number of the tensor at hand, of all, weights done, of all)."""


@dataclass(frozen=True)
class Summary:
    """What was written."""

    n_bytes: int
    """Of the tensors."""
    n_weights: int
    seconds: float

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.n_bytes / max(1, self.n_weights)


def plan(source: Source, formats: Mapping[str, Format]) -> list[Planned]:
    """The tensors of the file to be written: those that are given a format."""
    return [Planned(name, source.tensors[name].shape, format) for name, format in formats.items()]


def quantize(
    source: Source,
    path: str,
    metadata: Mapping[str, Typed],
    formats: Mapping[str, Format],
    method: Method,
    encoder: Encoder,
    *,
    split_max_size: int = 0,
    progress: Progress = lambda *_: None,
) -> Summary:
    """Write the source's tensors in these formats. Tensors that have theirs already are copied, bit for bit.

    Nothing is left of the file when an exception ends this. Raises LocalllmError that names the tensor.
    """
    started = time.perf_counter()
    tensors = plan(source, formats)
    n_weights, done = sum(source.tensors[tensor.name].n_weights for tensor in tensors), 0
    with written(path, metadata, tensors, split_max_size) as output:
        for number, planned in enumerate(tensors, start=1):
            tensor = source.tensors[planned.name]
            for n in _encode(source, tensor, planned.format, method, encoder, output):
                progress(number, len(tensors), done := done + n, n_weights)
    return Summary(sum(tensor.n_bytes for tensor in tensors), n_weights, time.perf_counter() - started)


def _encode(
    source: Source, tensor: SourceTensor, format: Format, method: Method, encoder: Encoder, output: Output
) -> Iterator[int]:
    """Writes one tensor; yields the number of weights of each piece once it is written."""
    raw = source.encoded(tensor.name, format)
    if raw is not None:
        for piece in np.array_split(raw, min(len(raw), 1 + raw.nbytes // SLICE)):
            output.write(tensor.name, piece)
        yield tensor.n_weights
        return
    if not format.supported:
        raise UnsupportedError(f"{source.path}: tensor {tensor.name}: {format.name} cannot be written")
    for matrix, start, stop in _slices(tensor):
        x = source.rows(tensor.name, start, stop)
        try:
            blocks = encoder.encode(format, x) if format.name in _FLOATS else method.encode(tensor, x, format, matrix)
        except LocalllmError as error:
            raise type(error)(f"{source.path}: tensor {tensor.name}: {error}") from None
        output.write(tensor.name, blocks)
        yield x.size


def _slices(tensor: SourceTensor) -> Iterable[tuple[int, int, int]]:
    """(matrix, first row, end): pieces of at most SLICE elements within one matrix; rows are counted through all."""
    n = tensor.shape[1] if len(tensor.shape) > 1 else 1
    step = max(1, SLICE // tensor.k)
    for first in range(0, tensor.n_rows, n):
        for start in range(first, first + n, step):
            yield first // n, start, min(start + step, first + n)

"""How much a model's predictions suffer when one matrix alone is rounded, measured by taps.

The matrix's product is edited while the model runs: its input times the rounding's error is added to its output, and
the divergence of the predictions from the model's own is what that rounding costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from localllm.errors import UsageError
from localllm.generate.logprobs import log_softmax
from localllm.kernels.formats.table import Format
from localllm.model.model import LoadedModel
from localllm.model.trace import Trace
from localllm.quantize.encode import Encoder
from localllm.quantize.source import Source, SourceTensor

Importance = Callable[[str], "np.ndarray | None"]
_ROWS = 1 << 13
"""Rows of a large matrix, such as the output's, that are rounded at once."""
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"


class Sensitivity:
    """Measures on a few chunks of text. model: of the same file as the source, with float weights at best."""

    def __init__(
        self, model: LoadedModel, source: Source, importance: Importance, encoder: Encoder, chunks: Sequence[list[int]]
    ) -> None:
        """chunks: token ids, of at most 512 tokens each. Raises UsageError where there are none."""
        if not chunks:
            raise UsageError(f"{model.path}: the text is too short to measure sensitivities by")
        self._model, self._source, self._importance, self._encoder = model, source, importance, encoder
        self._chunks = chunks
        self._taps = frozenset(model.taps())
        self._tied = _OUTPUT not in source.tensors
        self._base = [log_softmax(self._logits(chunk, lambda trace, _: None), in_place=True) for chunk in chunks]

    def can_measure(self, name: str) -> bool:
        """Whether a tensor's product has an input and an output to look at."""
        short = name.removesuffix(".weight")
        return name == _EMBEDDING or (f"{short}.input" in self._taps and (name == _OUTPUT or self._has_output(short)))

    def _has_output(self, short: str) -> bool:
        return f"{short}.output" in self._taps

    def divergence(self, name: str, format: Format) -> float:
        """The mean of KL(model || model with this tensor rounded by importance), in nats a token."""
        tensor = self._source.tensors[name]
        if name in (_EMBEDDING, _OUTPUT):
            return self._mean(lambda chunk: self._ends(tensor, format, chunk))
        error = self._error(tensor, format, 0, tensor.n_rows)
        return self._mean(lambda chunk: self._logits(chunk, lambda trace, _: _add(trace, tensor, error)))

    def _mean(self, logits_of: Callable[[list[int]], np.ndarray]) -> float:
        total, n = 0.0, 0
        for chunk, base in zip(self._chunks, self._base, strict=True):
            log_p = log_softmax(logits_of(chunk), in_place=True)
            total += float(np.einsum("ij,ij->", np.exp(base), base - log_p, dtype=np.float64))
            n += len(chunk)
        return max(total / n, 0.0)

    def _logits(self, chunk: list[int], prepare: Callable[[Trace, list[int]], None]) -> np.ndarray:
        with self._model.trace(n_ctx=len(chunk), n_batch=len(chunk)) as trace:
            prepare(trace, chunk)
            return trace.forward(chunk, want_logits=[True] * len(chunk))

    def _error(self, tensor: SourceTensor, format: Format, start: int, stop: int) -> np.ndarray:
        """Rounded rows less those of the source: float32 [stop - start, k]."""
        x = self._source.rows(tensor.name, start, stop)
        raw = self._encoder.encode(format, x, self._importance(tensor.name))
        error: np.ndarray = self._encoder.decode(format, raw, tensor.k) - x
        return error

    def _ends(self, tensor: SourceTensor, format: Format, chunk: list[int]) -> np.ndarray:
        """Logits where the embeddings, the output matrix, or, if they are the same tensor, both are rounded."""
        is_output = tensor.name == _OUTPUT or self._tied
        inputs: list[np.ndarray] = []

        def prepare(trace: Trace, tokens: list[int]) -> None:
            if tensor.name == _EMBEDDING and "inp_embd" in self._taps:
                rows = np.stack([self._source.rows(tensor.name, token, token + 1)[0] for token in tokens])
                errors = np.stack([self._error(tensor, format, token, token + 1)[0] for token in tokens])
                trace.edit("inp_embd", lambda x: x + _factor(x, rows) * errors)
            if is_output:
                trace.on(f"{tensor.name.removesuffix('.weight')}.input", lambda _, x: inputs.append(x.copy()))

        logits = self._logits(chunk, prepare)
        if is_output:
            for start in range(0, tensor.n_rows, _ROWS):
                stop = min(start + _ROWS, tensor.n_rows)
                logits[:, start:stop] += inputs[-1] @ self._error(tensor, format, start, stop).T
        return logits


def _add(trace: Trace, tensor: SourceTensor, error: np.ndarray) -> None:
    """Edit the tensor's product as if the error were part of it."""
    short = tensor.name.removesuffix(".weight")
    inputs: list[np.ndarray] = []
    trace.on(f"{short}.input", lambda _, x: inputs.append(x.copy()))
    trace.edit(f"{short}.output", lambda y: y + (inputs[-1] @ error.T).reshape(y.shape))


def _factor(x: np.ndarray, rows: np.ndarray) -> float:
    """What the model multiplies its embeddings by."""
    square = float(np.einsum("ij,ij->", rows, rows))
    return float(np.einsum("ij,ij->", x, rows)) / square if square else 1.0

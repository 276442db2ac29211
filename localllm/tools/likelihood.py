"""How likely a model finds a text: logits chunk by chunk, as llama-perplexity takes them (llama.cpp, tools/perplexity).

A text is cut into chunks of n_ctx tokens, each evaluated from an empty context and begun by BOS where the tokenizer
adds one; the second half of a chunk is scored, so that every prediction has a context. With a stride, chunks overlap
and the last `stride` tokens of each are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from localllm.errors import FileError, UnsupportedError, UsageError
from localllm.generate.session import Model
from localllm.model.context import Context

MIN_N_CTX = 4


@dataclass(frozen=True)
class Chunk:
    """Tokens to feed, from an empty context; the logits of row `first` and those after it predict `targets`."""

    tokens: list[int]
    targets: np.ndarray
    first: int


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.6f} ± {self.error:.6f}"


def read_text(path: str) -> str:
    """A text file without its last line's end, as llama.cpp reads it. Raises FileError."""
    try:
        return Path(path).read_bytes().decode("utf-8", "replace").removesuffix("\n")
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from None


def text_ids(model: Model, text: str) -> list[int]:
    """The tokens of a text, BOS before them where the tokenizer adds it. Raises UnsupportedError."""
    if model.tokenizer is None:
        raise UnsupportedError(
            f"{model.path}: the model has no vocabulary (tokenizer.ggml.model): it cannot read a text"
        )
    bos = _bos(model)
    return ([] if bos is None else [bos]) + model.tokenizer.encode(text)


def _bos(model: Model) -> int | None:
    return model.tokenizer.bos_id if model.tokenizer and model.tokenizer.add_bos else None


def chunks(model: Model, ids: Sequence[int], n_ctx: int, n_chunks: int | None = None, stride: int = 0) -> list[Chunk]:
    """The chunks of a text, at most n_chunks of them. Raises UsageError where the text is too short."""
    if not 0 <= stride < n_ctx:
        raise UsageError(f"the stride is {stride}, must be 0 to {n_ctx - 1}: less than the size of the context")
    if n_ctx < MIN_N_CTX:
        raise UsageError(f"chunks have {n_ctx} tokens (-c), must have {MIN_N_CTX} or more")
    if len(ids) < n_ctx + (stride > 0):
        raise UsageError(f"the text has {len(ids)} tokens, a chunk {n_ctx}: a longer text, or a smaller -c is needed")
    if stride:
        return [_strided(ids, start, n_ctx, stride) for start in range(0, len(ids) - n_ctx, stride)][:n_chunks]
    bos = _bos(model)
    return [_halved(ids[i : i + n_ctx], bos) for i in range(0, len(ids) - n_ctx + 1, n_ctx)][:n_chunks]


def _halved(tokens: Sequence[int], bos: int | None) -> Chunk:
    head = list(tokens[:1]) if bos is None else [bos]
    first = len(tokens) // 2
    return Chunk([*head, *tokens[1:]], np.array(tokens[first + 1 :], np.int64), first)


def _strided(ids: Sequence[int], start: int, n_ctx: int, stride: int) -> Chunk:
    # llama.cpp does not put BOS before these.
    tokens = list(ids[start : start + n_ctx])
    first = n_ctx - stride - 1
    return Chunk(tokens, np.array(tokens[first + 1 :], np.int64), first)


def logits_of(context: Context, chunk: Chunk) -> np.ndarray:
    """What a model predicts for a chunk's targets: float32 [n_targets, n_vocab]."""
    context.clear()
    parts = []
    for start in range(0, len(chunk.tokens), context.n_batch):
        tokens = chunk.tokens[start : start + context.n_batch]
        wanted = [chunk.first <= row < len(chunk.tokens) - 1 for row in range(start, start + len(tokens))]
        parts.append(context.forward(tokens, want_logits=wanted))
    return np.concatenate(parts)


def taken(log_p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of each row of log_p [n, n_vocab] the element of its target: float64 [n]."""
    picked: np.ndarray = np.take_along_axis(log_p, targets[:, None], axis=1)[:, 0].astype(np.float64)
    return picked


def mean(values: np.ndarray) -> Estimate:
    """The mean of values, and its standard error."""
    n, middle = len(values), float(values.mean())
    variance = float(np.square(values).mean()) - middle**2
    return Estimate(middle, (max(variance, 0.0) / (n - 1)) ** 0.5 if n > 1 else 0.0)


def perplexity(nll: np.ndarray) -> Estimate:
    """exp of the mean of negative log-likelihoods [n], with its error."""
    of_log = mean(nll)
    value = float(np.exp(of_log.value))
    return Estimate(value, value * of_log.error)

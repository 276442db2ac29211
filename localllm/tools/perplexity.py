"""Perplexity of a text under a model, and the divergence of a model's predictions from a base model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np

from localllm.errors import UsageError
from localllm.generate.logprobs import log_softmax
from localllm.generate.session import Model
from localllm.tools.divergence import Divergence, divergence
from localllm.tools.likelihood import Chunk, chunks, logits_of, taken
from localllm.tools.logits_file import Add, LogitsFile, written_logits

Progress = Callable[[str, int, int], None]


def negative_log_likelihoods(
    model: Model, parts: Sequence[Chunk], progress: Progress | None = None, keep: Add | None = None
) -> Iterator[np.ndarray]:
    """Of each chunk the negative log-likelihoods of its targets, float64 [n]. keep: gets the logits."""
    with closing(model.context(n_ctx=len(parts[0].tokens))) as context:
        for i, chunk in enumerate(parts):
            logits = logits_of(context, chunk)
            if keep:
                keep(logits)
            yield -taken(log_softmax(logits), chunk.targets)
            if progress:
                progress("Chunks", i + 1, len(parts))


def save_logits(
    model: Model, ids: Sequence[int], n_ctx: int, path: str, n_chunks: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:  # fmt: skip
    """Write a base model's predictions for a text; the negative log-likelihoods, float64 [n]."""
    parts = chunks(model, ids, n_ctx, n_chunks)
    tokens = np.array(ids[: len(parts) * n_ctx], np.int64).reshape(len(parts), n_ctx)
    with written_logits(path, n_ctx, model.config.n_vocab, tokens) as keep:
        return np.concatenate(list(negative_log_likelihoods(model, parts, progress, keep)))


def divergences(
    model: Model, base: LogitsFile, n_chunks: int | None = None, progress: Progress | None = None
) -> Iterator[Divergence]:
    """Of each chunk of a base model's file, how far this model's predictions are from its. Raises UsageError."""
    if base.n_vocab != model.config.n_vocab:
        raise UsageError(
            f"{base.path}: is of a vocabulary of {base.n_vocab} tokens, {model.path} has one of {model.config.n_vocab}"
        )
    parts = chunks(model, base.tokens.ravel().tolist(), base.n_ctx, n_chunks)
    with closing(model.context(n_ctx=base.n_ctx)) as context:
        for i, (chunk, base_log_p) in enumerate(zip(parts, base, strict=False)):
            yield divergence(base_log_p, logits_of(context, chunk), chunk.targets)
            if progress:
                progress("Chunks", i + 1, len(parts))

"""Whether what a client says of likelihoods is what the model's own logits say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import localllm

TOLERANCE = 2e-5
"""Of a sum of a few log-probabilities, which go through float32 and JSON."""


def verify(results: Path, model_path: Path) -> None:
    """Compare log-likelihoods of continuations, whether they are the greedy ones, and the accuracy. AssertionError."""
    given = json.loads(results.read_text())
    with localllm.load(str(model_path)) as model:
        right = [_best(model, row["choices"]) == int(row["target"]) for row in given["told"]]
    assert given["accuracy"] == sum(right) / len(right), (given["accuracy"], right)


def _best(model: localllm.Model, choices: list[dict[str, Any]]) -> int:
    """The likeliest choice, each of which is compared."""
    sums = []
    for choice in choices:
        logprob, greedy = _likelihood(model, choice["context"], choice["continuation"])
        assert abs(logprob - choice["logprob"]) < TOLERANCE * max(1.0, abs(logprob)), (choice, logprob)
        assert greedy == choice["greedy"], choice
        sums.append(logprob)
    return int(np.argmax(sums))


def _likelihood(model: localllm.Model, context: str, continuation: str) -> tuple[float, bool]:
    assert model.tokenizer
    encode = model.tokenizer.encode
    n_context, ids = len(encode(context)), encode(context + continuation)
    logits = model.logits(ids[:-1]).astype(np.float64)[n_context - 1 :]
    logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    wanted = ids[n_context:]
    return float(logprobs[range(len(wanted)), wanted].sum()), bool((logprobs.argmax(1) == wanted).all())

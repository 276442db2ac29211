"""How likely tokens were, by the model's own logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from localllm.generate.piece import TokenLogprob
from localllm.generate.samplers.candidates import best
from localllm.generate.samplers.row import Floats


def log_softmax(logits: Floats, in_place: bool = False) -> Floats:
    """Logarithms of probabilities: float32 [n, n_vocab]. Exponentials are taken in float32, sums in float64."""
    log_p = logits if in_place else np.empty_like(logits)
    np.subtract(logits, logits.max(axis=1, keepdims=True), out=log_p)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return log_p


def token_logprob(logits: Floats, token: int, n_top: int = 0) -> TokenLogprob:
    """The logarithm of the softmax of `logits` (float32 [n_vocab]) at `token`, and at the n_top likeliest tokens, best
    first, the lowest id first among equals.

    As good as in float64 but for some 1e-7: exponentials are taken in float32, the sum and what follows in float64.
    """
    highest = logits.max()
    below = logits - highest
    total = float(highest) + float(np.log(np.exp(below, out=below).sum(dtype=np.float64)))
    ids = best(logits, n_top) if n_top > 0 else ()
    return TokenLogprob(token, float(logits[token]) - total, tuple((int(i), float(logits[i]) - total) for i in ids))


def token_logprobs(logits: Floats, tokens: Sequence[int], n_top: int = 0) -> list[TokenLogprob]:
    """`token_logprob` of each row of `logits` (float32 [n, n_vocab]) and the token that followed it."""
    return [token_logprob(row, token, n_top) for row, token in zip(logits, tokens, strict=True)]

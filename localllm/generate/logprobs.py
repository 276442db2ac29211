"""How likely tokens were, by the model's own logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localllm.generate.piece import TokenLogprob


def token_logprob(logits: NDArray[np.float32], token: int, n_top: int = 0) -> TokenLogprob:
    """The logarithm of the softmax of `logits` (float32 [n_vocab]) at `token`, and at the n_top likeliest tokens, best
    first, the lowest id first among equals."""
    wide = logits.astype(np.float64)
    highest = float(wide.max())
    total = highest + float(np.log(np.exp(wide - highest).sum()))
    top: tuple[tuple[int, float], ...] = ()
    if n_top > 0:
        n = len(logits)
        floor = np.partition(logits, n - n_top)[n - n_top] if n_top < n else logits.min()
        ids = np.flatnonzero(logits >= floor)
        ids = ids[np.argsort(-logits[ids], kind="stable")[:n_top]]
        top = tuple((int(i), float(wide[i]) - total) for i in ids)
    return TokenLogprob(token, float(wide[token]) - total, top)

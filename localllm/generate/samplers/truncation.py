"""What keeps the likely tokens: top-k, top-p, min-p, locally typical, top-n-sigma.

As the samplers of the same names in llama.cpp (src/llama-sampler.cpp), with its float32 where a limit is compared.
"""

from __future__ import annotations

import numpy as np

from localllm.generate.params import Sampling
from localllm.generate.samplers.candidates import Candidates, below_best, fewest, order, total, weights
from localllm.generate.samplers.stage import Means, Stage

_NEVER = np.float32(-200.0)
"""exp of it is 0 in float32."""


def top_k(params: Sampling, means: Means) -> Stage | None:
    """The k likeliest."""

    def stage(candidates: Candidates) -> Candidates:
        k = min(params.top_k, len(candidates.logits))
        return candidates if k == len(candidates.logits) else order(candidates, k)

    return stage if params.top_k > 0 else None


def top_p(params: Sampling, means: Means) -> Stage | None:
    """The fewest, likeliest first, whose probabilities reach top_p."""

    def stage(candidates: Candidates) -> Candidates:
        return candidates.keep(fewest(candidates.logits, weights(candidates), params.top_p, params.min_keep))

    return stage if params.top_p < 1.0 else None


def min_p(params: Sampling, means: Means) -> Stage | None:
    """Those at least min_p times as likely as the likeliest."""
    distance = np.log(np.float32(params.min_p)) if params.min_p > 0.0 else np.float32(0.0)

    def stage(candidates: Candidates) -> Candidates:
        top = candidates.logits[0] if candidates.ordered else candidates.logits.max()
        return _at_least(candidates, top + distance, params.min_keep)

    return stage if params.min_p > 0.0 else None


def typical(params: Sampling, means: Means) -> Stage | None:
    """The fewest, those first whose surprise is nearest to the entropy, whose probabilities pass typical_p."""

    def stage(candidates: Candidates) -> Candidates:
        below = np.maximum(below_best(candidates), _NEVER)
        weight = np.exp(below)
        whole = total(weight)
        # The entropy is log(whole) - mean; what lies between a token's surprise and it is mean - below.
        mean = np.float32(np.einsum("i,i->", weight, below) / whole)
        np.subtract(below, mean, out=below)
        np.abs(below, out=below)
        np.negative(below, out=below)
        return candidates.keep(fewest(below, weight, params.typical_p, params.min_keep, beyond=True))

    return stage if params.typical_p < 1.0 else None


def top_n_sigma(params: Sampling, means: Means) -> Stage | None:
    """Those whose logit is within n standard deviations of the greatest."""
    n = np.float32(params.top_n_sigma)

    def stage(candidates: Candidates) -> Candidates:
        logits = candidates.logits
        top, least = logits.max(), logits.min()
        if len(logits) < 2:
            return candidates
        finite = logits if least > -np.inf else logits[logits > -np.inf]
        apart = finite - finite.mean()
        deviation = np.sqrt(np.einsum("i,i->", apart, apart) / np.float32(len(finite)))
        return _at_least(candidates, top - n * deviation, 0)

    return stage if params.top_n_sigma > 0.0 else None


def _at_least(candidates: Candidates, limit: np.float32, min_keep: int) -> Candidates:
    """Those whose logit reaches a limit, and at least the min_keep best."""
    places = np.flatnonzero(candidates.logits >= limit)
    if len(places) < max(min_keep, 1):
        return order(candidates, min(max(min_keep, 1), len(candidates.logits)))
    return candidates.keep(places)

"""What keeps the likely tokens: top-k, top-p, min-p, locally typical, top-n-sigma.

As the samplers of the same names in llama.cpp (src/llama-sampler.cpp), with its float32 where a limit is compared.
"""

from __future__ import annotations

import numpy as np

from localllm.generate.params import Sampling
from localllm.generate.samplers.candidates import Candidates, likeliest, most_typical, order
from localllm.generate.samplers.row import deviation
from localllm.generate.samplers.stage import Means, Stage


def top_k(params: Sampling, means: Means) -> Stage | None:
    """The k likeliest."""

    def stage(candidates: Candidates) -> Candidates:
        return candidates if params.top_k >= len(candidates.logits) else order(candidates, params.top_k)

    return stage if params.top_k > 0 else None


def top_p(params: Sampling, means: Means) -> Stage | None:
    """The fewest, likeliest first, whose probabilities reach top_p."""

    def stage(candidates: Candidates) -> Candidates:
        return candidates.keep(likeliest(candidates.logits, params.top_p, params.min_keep))

    return stage if params.top_p < 1.0 else None


def min_p(params: Sampling, means: Means) -> Stage | None:
    """Those at least min_p times as likely as the likeliest."""
    if params.min_p <= 0.0:
        return None
    distance = np.log(np.float32(params.min_p))
    return lambda candidates: _at_least(candidates, candidates.top + distance, params.min_keep)


def typical(params: Sampling, means: Means) -> Stage | None:
    """The fewest, those first whose surprise is nearest to the entropy, whose probabilities pass typical_p."""

    def stage(candidates: Candidates) -> Candidates:
        return candidates.keep(most_typical(candidates.logits, params.typical_p, params.min_keep))

    return stage if params.typical_p < 1.0 else None


def top_n_sigma(params: Sampling, means: Means) -> Stage | None:
    """Those whose logit is within n standard deviations of the greatest."""
    n = np.float32(params.top_n_sigma)

    def stage(candidates: Candidates) -> Candidates:
        return _at_least(candidates, candidates.top - n * deviation(candidates.logits), 0)

    return stage if params.top_n_sigma > 0.0 else None


def _at_least(candidates: Candidates, limit: np.float32, min_keep: int) -> Candidates:
    """Those whose logit reaches a limit, and at least the min_keep best."""
    places = np.flatnonzero(candidates.logits >= limit)
    if len(places) < max(min_keep, 1):
        return order(candidates, min(max(min_keep, 1), len(candidates.logits)))
    return candidates.keep(places)

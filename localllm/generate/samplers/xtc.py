"""Exclude top choices (github.com/oobabooga/text-generation-webui/pull/6335), as llama.cpp's xtc."""

from __future__ import annotations

import numpy as np

from localllm.generate.params import Sampling
from localllm.generate.samplers.candidates import Candidates
from localllm.generate.samplers.row import weigh
from localllm.generate.samplers.stage import Means, Stage


def xtc(params: Sampling, means: Means) -> Stage | None:
    """Now and then, of the tokens that reach the threshold only the least likely is left, with all below it."""
    threshold = np.float32(params.xtc_threshold)

    def stage(candidates: Candidates) -> Candidates:
        n = len(candidates.logits)
        if n < 2 or means.chance.uniform() > params.xtc_probability:
            return candidates
        weighed = weigh(candidates.logits)
        reach = np.flatnonzero((candidates.logits > -np.inf) & (weighed.weights / weighed.total >= threshold))
        removed = len(reach) - 1
        if removed < 1 or n - removed < params.min_keep:
            return candidates
        logits = candidates.logits[reach]
        left = reach[np.flatnonzero(logits == logits.min())[-1]]  # the last of equals
        kept = np.ones(n, np.bool_)
        kept[reach] = False
        kept[left] = True
        return candidates.keep(np.flatnonzero(kept))

    return stage if params.xtc_probability > 0.0 and params.xtc_threshold <= 0.5 else None

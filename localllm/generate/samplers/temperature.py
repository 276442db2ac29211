"""Temperature, and the one that follows the entropy (arXiv:2309.02772 after KoboldCpp), as llama.cpp's temp_ext."""

from __future__ import annotations

import numpy as np

from localllm.generate.params import Sampling
from localllm.generate.samplers.candidates import Candidates, order
from localllm.generate.samplers.row import weigh
from localllm.generate.samplers.stage import Means, Stage


def temperature(params: Sampling, means: Means) -> Stage | None:
    """Divides the logits; a temperature of 0 or less leaves the likeliest token alone."""
    return dynamic(params) if params.dynatemp_range > 0.0 else fixed(params.temperature)


def fixed(value: float) -> Stage | None:
    """One temperature for all."""
    return None if value == 1.0 else lambda candidates: divide(candidates, value)


def dynamic(params: Sampling) -> Stage:
    """The surer the model, the lower the temperature: by the entropy over the greatest for so many tokens."""
    low = np.float32(max(0.0, params.temperature - params.dynatemp_range))
    high = np.float32(params.temperature + params.dynatemp_range)

    def stage(candidates: Candidates) -> Candidates:
        n = int(np.count_nonzero(candidates.logits > -np.inf))
        if n < 2:
            return candidates
        weighed = weigh(candidates.logits)
        part = max(float(np.log(weighed.total)) - weighed.mean, 0.0) / np.log(n)
        return divide(candidates, float(low + (high - low) * np.float32(part**params.dynatemp_exponent)))

    return stage


def divide(candidates: Candidates, temperature: float) -> Candidates:
    """Logits over a temperature."""
    divisor = np.float32(max(temperature, 0.0))
    if divisor < np.finfo(np.float32).tiny:
        return order(candidates, 1)
    logits = candidates.logits
    logits -= candidates.top  # the greatest stays finite
    logits /= divisor
    return candidates

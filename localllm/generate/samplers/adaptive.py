"""Adaptive-p (github.com/ggml-org/llama.cpp/pull/17927): tokens are drawn near a probability, which moves so that the
mean of what was drawn comes to the target. As llama_sampler_adaptive_p of llama.cpp, in float32."""

from __future__ import annotations

import numpy as np

from localllm.generate.params import Sampling
from localllm.generate.samplers.candidates import Candidates
from localllm.generate.samplers.row import Weighed, weigh

_WIDTH, _PEAK, _SHARPNESS = np.float32(0.3), np.float32(5.0), np.float32(10.0)


class Adaptive:
    """Keeps a moving mean of the probabilities of what was drawn, as they were before the transform."""

    def __init__(self, params: Sampling) -> None:
        self._target, self._decay = np.float32(params.adaptive_target), np.float32(params.adaptive_decay)
        self._weight = np.float32(1) / (np.float32(1) - self._decay)
        self._sum = self._target * self._weight
        self._before = np.zeros(0, np.float32)

    @property
    def aim(self) -> np.float32:
        """The probability that is now the likeliest to be drawn."""
        return np.float32(np.clip(np.float32(2) * self._target - self._sum / self._weight, 0.0, 1.0))

    def shape(self, candidates: Candidates) -> Candidates:
        weighed = weigh(candidates.logits)
        self._before = weighed.weights / weighed.total
        distance = np.abs((self._before - self.aim) / _WIDTH)
        logits = _PEAK - _SHARPNESS * distance * distance / (1 + distance)
        return Candidates(candidates.ids, np.where(candidates.logits > -np.inf, logits, np.float32(-np.inf)))

    def learn(self, weighed: Weighed, place: int) -> None:
        self._sum = self._before[place] + self._decay * self._sum
        self._weight = np.float32(1) + self._decay * self._weight

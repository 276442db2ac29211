"""Mirostat (arXiv:2007.14966): the surprise of the text is held at a target, as llama.cpp's mirostat and mirostat_v2
(src/llama-sampler.cpp) do it, in float32."""

from __future__ import annotations

import numpy as np

from localllm.generate.params import Sampling
from localllm.generate.samplers.candidates import Candidates, greatest, order
from localllm.generate.samplers.row import Weighed, weigh

_M = 100
"""Likeliest tokens by which the exponent of Zipf's law is estimated."""
_STEPS = np.log(np.arange(2, _M + 1, dtype=np.float32) / np.arange(1, _M, dtype=np.float32))


class Mirostat2:
    """Version 2: what is more surprising than mu bits is cut off."""

    def __init__(self, params: Sampling) -> None:
        self._tau, self._eta = np.float32(params.mirostat_tau), np.float32(params.mirostat_eta)
        self.mu = np.float32(2.0) * self._tau
        """The greatest surprise that is allowed, in bits."""

    def shape(self, candidates: Candidates) -> Candidates:
        weighed = weigh(candidates.logits)
        # Few are likely enough; of these the logarithm is taken.
        least = float(weighed.total) * 2.0 ** -float(self.mu) * 0.999
        places = np.flatnonzero(weighed.weights >= max(least, np.finfo(np.float32).smallest_subnormal))
        surprise = -np.log2(weighed.weights[places] / weighed.total)
        places = places[surprise <= self.mu]
        return candidates.keep(places) if len(places) else order(candidates, 1)

    def learn(self, weighed: Weighed, place: int) -> None:
        surprise = -np.log2(weighed.weights[place] / weighed.total)
        self.mu = self.mu - self._eta * (surprise - self._tau)


class Mirostat1(Mirostat2):
    """Version 1: as many of the likeliest are kept as Zipf's law, fitted to the likeliest 100, says."""

    def __init__(self, params: Sampling) -> None:
        super().__init__(params)
        self._n_vocab = 0

    def shape(self, candidates: Candidates) -> Candidates:
        self._n_vocab = max(self._n_vocab, len(candidates.logits))
        return candidates.keep(greatest(candidates.logits, self._n_kept(candidates)))

    def _n_kept(self, candidates: Candidates) -> int:
        logits = order(candidates, min(_M, len(candidates.logits))).logits
        logits = logits[logits > -np.inf]
        if len(logits) < 2:
            return 1
        steps = _STEPS[: len(logits) - 1]
        s = np.float32((steps * (logits[:-1] - logits[1:])).sum() / np.square(steps).sum())
        epsilon = s - np.float32(1)
        with np.errstate(all="ignore"):
            k = (epsilon * np.exp2(self.mu) / (1 - np.float32(self._n_vocab) ** -epsilon)) ** (1 / s)
        return max(1, int(min(k, 2**31 - 1))) if k == k else 1  # no number: the fit says nothing

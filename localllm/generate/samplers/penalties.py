"""Penalties of tokens that occurred: repeat (CTRL, arXiv:1909.05858), frequency and presence (OpenAI's API reference),
as llama_sampler_penalties of llama.cpp (src/llama-sampler.cpp) computes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from localllm.generate.params import Sampling
from localllm.generate.samplers.candidates import Candidates, Places, by_id
from localllm.generate.samplers.row import Floats
from localllm.generate.samplers.stage import Means, Stage


class Penalties:
    """Counts the tokens in the window as they come, so that a step costs what is in it once, however long it is."""

    def __init__(self, params: Sampling) -> None:
        self._repeat = np.float32(params.repeat_penalty)
        self._frequency = np.float32(params.frequency_penalty)
        self._presence = np.float32(params.presence_penalty)
        self._last_n = params.repeat_last_n
        self._window: deque[int] = deque()
        self._counts = np.zeros(0, np.float32)
        """How often each token is in the window."""
        self._ids = np.zeros(64, np.int64)
        self._n_ids = 0
        """Every token of the window is among the first n_ids of `ids`; some there may have left it, or stand twice."""

    def restart(self, ids: Sequence[int]) -> None:
        recent = np.asarray(ids[-self._last_n :] if self._last_n > 0 else ids, np.int64)
        self._window = deque(recent.tolist() if self._last_n > 0 else ())
        self._counts = np.bincount(recent).astype(np.float32)
        found = np.flatnonzero(self._counts)
        self._n_ids = len(found)
        self._ids = np.concatenate((found, np.zeros(64, np.int64)))

    def push(self, token: int) -> None:
        self._reach(token)
        if self._counts[token] == 0.0:
            if self._n_ids == len(self._ids):
                self._ids = np.concatenate((self._ids, np.zeros_like(self._ids)))
            self._ids[self._n_ids] = token
            self._n_ids += 1
        self._counts[token] += 1.0
        if self._last_n > 0:
            self._window.append(token)
            if len(self._window) > self._last_n:
                self._counts[self._window.popleft()] -= 1.0

    def __call__(self, candidates: Candidates) -> Candidates:
        places, counts = self._present() if candidates.ids is None else self._among(candidates.ids)
        if not len(places):
            return candidates
        logits = candidates.logits
        values = logits[places]
        values = np.where(values <= 0, values * self._repeat, values / self._repeat)
        logits[places] = values - (counts * self._frequency + self._presence)
        return by_id(candidates)

    def _present(self) -> tuple[Places, Floats]:
        """The tokens of the window, and how often they are in it."""
        ids = self._ids[: self._n_ids]
        counts = self._counts[ids]
        live = counts > 0.0
        if not live.all():
            ids, counts = ids[live], counts[live]
            self._n_ids = len(ids)
            self._ids[: len(ids)] = ids
        return ids, counts

    def _among(self, ids: Places) -> tuple[Places, Floats]:
        """The places of `ids` whose token is in the window, and how often it is."""
        self._reach(int(ids.max()))
        counts = self._counts[ids]
        places = np.flatnonzero(counts)
        return places, counts[places]

    def _reach(self, token: int) -> None:
        if token >= len(self._counts):
            more = np.zeros(max(token + 1 - len(self._counts), len(self._counts)), np.float32)
            self._counts = np.concatenate((self._counts, more))


def penalties(params: Sampling, means: Means) -> Stage | None:
    """What penalises repetition, frequency and presence."""
    nothing = params.repeat_penalty == 1.0 and not params.frequency_penalty and not params.presence_penalty
    return None if nothing or params.repeat_last_n == 0 else Penalties(params)

"""DRY, "don't repeat yourself": a token that would prolong a repetition is penalised by the repetition's length
(github.com/oobabooga/text-generation-webui/pull/5677), as llama_sampler_dry of llama.cpp (src/llama-sampler.cpp).

llama.cpp measures all repetitions anew for each token (the Z-algorithm); here they are kept from token to token: one
that ends at a position is one longer than what ended before it, if the token there is the newest one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from localllm.errors import UsageError
from localllm.generate.params import Sampling
from localllm.generate.samplers.breakers import Breakers, Tail, Tokens, breakers_of
from localllm.generate.samplers.candidates import Candidates, Places, by_id
from localllm.generate.samplers.stage import Means, Stage

_SPARE = 64
_LOG_MAX = 88.7228391
"""About log of the greatest float32."""


class Dry:
    """Repetitions of the end of the text, kept up to date."""

    def __init__(self, params: Sampling, breakers: Breakers) -> None:
        self._multiplier, self._base = float(np.float32(params.dry_multiplier)), float(np.float32(params.dry_base))
        self._allowed, self._last_n = params.dry_allowed_length, params.dry_penalty_last_n
        self._max_exponent = int(_LOG_MAX / math.log(self._base)) if self._base > 1.000001 else 0
        self._single = breakers.single
        self._tails: defaultdict[int, list[Tail]] = defaultdict(list)
        """By their last token."""
        for tail in breakers.tails:
            self._tails[tail.rest[-1]].append(tail)
        self.restart(())

    def restart(self, ids: Sequence[int]) -> None:
        ids = ids[-self._last_n :] if self._last_n > 0 else ids
        self._n = 0
        self._text = np.zeros(len(ids) + _SPARE, np.int64)
        self._lengths = np.zeros(len(ids) + _SPARE, np.int64)
        """Of each position how many tokens up to it are as the last ones of the text are."""
        self._broken = (-1, -1)
        """Where the last breaker begins and where it ends; of those with one beginning the longest."""
        self._text[: len(ids)] = ids
        self._lengths[: len(ids)] = ends_alike(ids)
        for token in ids:
            self._find_breaker(token)

    def push(self, token: int) -> None:
        if self._n == len(self._text):
            self._make_room()
        n = self._n
        text, lengths = self._text, self._lengths
        if n:
            lengths[1:n] = np.where(text[1:n] == token, lengths[: n - 1] + 1, 0)
            lengths[0] = text[0] == token
        text[n], lengths[n] = token, 0
        self._find_breaker(token)

    def _find_breaker(self, token: int) -> None:
        """The text is one token longer: does a breaker end there?"""
        n = self._n
        self._n += 1
        if token in self._single:
            self._broken = max(self._broken, (n, n))
        for heads, rest in self._tails.get(token, ()):
            begin = n - len(rest)
            followed = begin >= 0 and tuple(self._text[begin + 1 : n + 1].tolist()) == rest
            if followed and _holds(heads, self._text[begin]):
                self._broken = max(self._broken, (begin, n))

    def _make_room(self) -> None:
        """Forget what has left the window, or make the arrays longer."""
        gone = max(0, self._n - self._last_n) if self._last_n > 0 else 0
        kept = self._n - gone
        for name in ("_text", "_lengths"):
            longer = np.zeros(2 * kept + _SPARE, np.int64)
            longer[:kept] = getattr(self, name)[gone : self._n]
            setattr(self, name, longer)
        self._n, self._broken = kept, (self._broken[0] - gone, self._broken[1] - gone)

    def __call__(self, candidates: Candidates) -> Candidates:
        ids, lengths = self._repeats()
        if not len(ids):
            return candidates
        exponents = lengths - self._allowed
        if self._max_exponent > 0:
            exponents = np.minimum(exponents, self._max_exponent)
        penalties = (self._multiplier * self._base ** exponents.astype(np.float64)).astype(np.float32)
        if candidates.ids is not None:
            _, ids, chosen = np.intersect1d(candidates.ids, ids, assume_unique=True, return_indices=True)
            penalties = penalties[chosen]
        candidates.logits[ids] -= penalties
        return by_id(candidates)

    def _repeats(self) -> tuple[Places, Places]:
        """Tokens, and the length of the longest repetition that each would prolong, where that is long enough."""
        n, none = self._n, np.zeros(0, np.int64)
        first = max(0, n - self._last_n) if self._last_n > 0 else 0
        begin, end = self._broken
        limit = n - 1 - end if begin >= first else n - first
        if n - first <= self._allowed or limit < self._allowed:
            return none, none
        lengths = np.minimum(self._lengths[first : n - 1], np.arange(1, n - first))  # none begins before the window
        found = np.flatnonzero(lengths >= self._allowed)
        tokens, lengths = self._text[first + 1 + found], np.minimum(lengths[found], limit)
        order = np.lexsort((lengths, tokens))
        tokens, lengths = tokens[order], lengths[order]
        longest = np.append(tokens[1:] != tokens[:-1], True)[: len(tokens)]
        if self._single:
            longest &= np.array([token not in self._single for token in tokens.tolist()], np.bool_)
        return tokens[longest], lengths[longest]


def ends_alike(text: Sequence[int]) -> list[int]:
    """Of each position how many tokens up to it are as the last ones of the text are; 0 of the last one.

    The Z-algorithm (Gusfield, Algorithms on Strings, Trees, and Sequences, 1.4), from the end.
    """
    n = len(text)
    backwards = list(reversed(text))
    alike = [0] * n
    left = right = 0  # the stretch of those found that reaches furthest
    for k in range(1, n):
        length = min(right - k, alike[k - left]) if k < right else 0
        while k + length < n and backwards[length] == backwards[k + length]:
            length += 1
        alike[k] = length
        if k + length > right:
            left, right = k, k + length
    return alike[::-1]


def dry(params: Sampling, means: Means) -> Stage | None:
    """What penalises the prolonging of repetitions. UsageError for breakers without a vocabulary to find them in."""
    if params.dry_multiplier == 0.0 or params.dry_base < 1.0 or params.dry_penalty_last_n == 0:
        return None
    if params.dry_sequence_breakers and means.vocabulary is None:
        raise UsageError("dry_sequence_breakers are texts: without a vocabulary there can be none, set them to ()")
    texts, vocabulary = params.dry_sequence_breakers, means.vocabulary
    return Dry(params, breakers_of(vocabulary, texts) if texts and vocabulary else Breakers())


def _holds(tokens: Tokens, token: np.int64) -> bool:
    """Whether a token is one of some, which rise."""
    place = int(tokens.searchsorted(token))
    return place < len(tokens) and bool(tokens[place] == token)

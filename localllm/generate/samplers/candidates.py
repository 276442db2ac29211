"""The tokens that are still in play, and what the stages ask of them: the best, the fewest, their weights.

A vocabulary is never sorted: a threshold that few pass is found first (from the maxima of blocks, or from a histogram),
and only what passes it is sorted. Equals are taken by their place, so that no result depends on how a sort treats ties.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

_FEW = 2048
"""Elements that are sorted as they are."""
_BUCKETS, _SPAN = 4096, 64.0
"""Of a histogram over keys: what lies further below the greatest falls into the last bucket."""


class Candidates(NamedTuple):
    """Tokens in play: best first (`ordered`; the lower id first among equals), or else by rising id."""

    ids: Places | None
    """None: element i is token i."""
    logits: Floats
    """float32 [n]; -inf for what has no chance."""
    ordered: bool = False

    def tokens(self, places: Places) -> Places:
        """The ids of some elements."""
        return places if self.ids is None else self.ids[places]

    def keep(self, places: Places) -> Candidates:
        """Some of the elements, by rising place."""
        return Candidates(self.tokens(places), self.logits[places], self.ordered)


def best(logits: Floats, k: int) -> Places:
    """Places of the k greatest of `logits`, greatest first, the lower place first among equals; all for k <= 0."""
    n = len(logits)
    if k <= 0 or k >= n:
        return np.argsort(-logits, kind="stable")
    places: Places | None = None
    values = logits
    if n > _FEW:
        places = np.flatnonzero(logits >= _low_bound(logits, k))
        values = logits[places]
    if len(values) > k:
        kth = _kth(values, k)
        over, equal = np.flatnonzero(values > kth), np.flatnonzero(values == kth)
        chosen = np.concatenate((over, equal[: k - len(over)]))  # greater ones come first whatever their place
        places, values = chosen if places is None else places[chosen], values[chosen]
    assert places is not None  # k < n: something was left out
    return places[np.argsort(-values, kind="stable")]


def _low_bound(values: Floats, k: int) -> np.float32:
    """A number that at least k of the values reach, and not many more where k is a small part of them: the k-th
    greatest of the maxima of blocks."""
    n = len(values)
    rows = min(64, n // (4 * k))
    if rows < 2:
        return _kth(values, k)
    columns = n // rows
    return _kth(values[: rows * columns].reshape(rows, columns).max(axis=0), k)


def _kth(values: Floats, k: int) -> np.float32:
    """The k-th greatest."""
    return np.float32(np.partition(values, len(values) - k)[len(values) - k])


def order(candidates: Candidates, k: int = 0) -> Candidates:
    """The k best, in order; all for k <= 0."""
    if k == 1:
        place = 0 if candidates.ordered else int(candidates.logits.argmax())  # the first of equals
        return Candidates(candidates.tokens(np.array([place])), candidates.logits[place : place + 1], True)
    if candidates.ordered:
        return candidates if k <= 0 else Candidates(candidates.tokens(np.arange(k)), candidates.logits[:k], True)
    places = best(candidates.logits, k)
    return Candidates(candidates.tokens(places), candidates.logits[places], True)


def by_id(candidates: Candidates, logits: Floats) -> Candidates:
    """The candidates with new logits, which need not be in the order of the old ones."""
    if candidates.ids is None or not candidates.ordered:
        return Candidates(candidates.ids, logits)
    places = np.argsort(candidates.ids)
    return Candidates(candidates.ids[places], logits[places])


def below_best(candidates: Candidates) -> Floats:
    """How far each logit lies below the greatest: at most 0."""
    top = candidates.logits[0] if candidates.ordered else candidates.logits.max()
    below: Floats = candidates.logits - top
    return below


def weights(candidates: Candidates) -> Floats:
    """exp(logit - greatest): probabilities but for a common factor."""
    below = below_best(candidates)
    np.exp(below, out=below)
    return below


def total(weights: Floats) -> np.float32:
    """The sum; of few weights one after the other, as llama.cpp adds them."""
    return np.cumsum(weights)[-1] if len(weights) <= _FEW else np.float32(weights.sum(dtype=np.float64))


def fewest(keys: Floats, weights: Floats, share: float, min_keep: int, beyond: bool = False) -> Places:
    """Places of the fewest elements, greatest key first (the lower place among equals), whose weights make up `share`
    of all: reach it, or pass it where `beyond`. At least one and at least min_keep, all where it is not reached.

    By rising place. share is compared in float32.
    """
    n, whole = len(keys), total(weights)
    for k in (_FEW // 8, _FEW) if n > _FEW else (n,):
        head = best(keys, max(k, min_keep))
        reached = np.cumsum(weights[head] / whole)
        count = int(np.searchsorted(reached, np.float32(share), side="right" if beyond else "left")) + 1
        if count <= len(head) or len(head) == n:
            return np.sort(head[: max(count, min_keep)])
    return _fewest_of_many(keys, weights, float(np.float32(share)) * float(whole), beyond)


def _fewest_of_many(keys: Floats, weights: Floats, wanted: float, beyond: bool) -> Places:
    """As `fewest`, for an absolute weight: a histogram of the weights over the keys tells in which bucket the last
    element lies, and only that bucket is looked at closer."""
    side: Literal["left", "right"] = "right" if beyond else "left"
    span = min(float(keys.max()) - float(keys.min()), _SPAN)
    if len(keys) <= _FEW or span == 0.0:
        places = np.argsort(-keys, kind="stable")
        reached = np.cumsum(weights[places], dtype=np.float64)
        return np.sort(places[: int(np.searchsorted(reached, wanted, side)) + 1])
    buckets = np.subtract(keys.max(), keys)
    buckets *= np.float32(_BUCKETS / span)
    numbers = np.minimum(buckets, np.float32(_BUCKETS - 1), out=buckets).astype(np.intp)
    reached = np.cumsum(np.bincount(numbers, weights))
    last = min(int(np.searchsorted(reached, wanted, side)), len(reached) - 1)
    inside = np.flatnonzero(numbers == last)
    rest = wanted - (float(reached[last - 1]) if last else 0.0)
    taken = numbers < last
    taken[inside[_fewest_of_many(keys[inside], weights[inside], rest, beyond)]] = True
    return np.flatnonzero(taken)

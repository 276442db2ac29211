"""The tokens that are still in play, and what the stages ask of them: the best, the fewest, their order.

A vocabulary is never sorted: a threshold that few pass is found first (from the maxima of blocks, or from sums up to
distances), and only what passes it is sorted. Equals are taken by their place, so that no result depends on how a sort
treats ties.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from localllm.generate.samplers.row import FEW, Floats, Weighed, collect, distances, weigh, within

Places = NDArray[np.int64]

_HEAD = 256
"""Elements that are tried first where they are likely to be enough."""
_LIMITS = np.arange(1, 17, dtype=np.float32)


class Candidates(NamedTuple):
    """Tokens in play, best first (`ordered`) or not; among equal logits always the lower id first."""

    ids: Places | None
    """None: element i is token i."""
    logits: Floats
    """float32 [n]; -inf for what has no chance. A stage may overwrite them."""
    ordered: bool = False

    def tokens(self, places: Places) -> Places:
        """The ids of some elements."""
        return places if self.ids is None else self.ids[places]

    def keep(self, places: Places) -> Candidates:
        """Some of the elements; of equals, and of all where they are ordered, by rising place."""
        return Candidates(self.tokens(places), self.logits[places], self.ordered)

    @property
    def top(self) -> np.float32:
        """The greatest logit."""
        return np.float32(self.logits[0] if self.ordered else self.logits.max())


def best(logits: Floats, k: int) -> Places:
    """Places of the k greatest of `logits`, greatest first, the lower place first among equals; all for k <= 0."""
    places = greatest(logits, k)
    return places[np.argsort(-logits[places], kind="stable")]


def greatest(logits: Floats, k: int) -> Places:
    """As `best`, in an order of which only this is sure: the lower place comes first among equals. Where k is less than
    all, none of those that have no chance, even if fewer than k are left then."""
    n = len(logits)
    if k <= 0 or k >= n:
        return np.arange(n)
    bound = _low_bound(logits, k) if n > FEW else _kth(logits, k)
    places = np.flatnonzero(logits >= bound if bound > -np.inf else logits > bound)
    values = logits[places]
    if len(values) > k:
        kth = _kth(values, k)
        over, equal = np.flatnonzero(values > kth), np.flatnonzero(values == kth)
        places = places[np.concatenate((over, equal[: k - len(over)]))]
    return places


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
        return Candidates(candidates.tokens(np.array([place])), candidates.logits[place : place + 1].copy(), True)
    if candidates.ordered:
        return candidates if k <= 0 else Candidates(candidates.tokens(np.arange(k)), candidates.logits[:k], True)
    places = best(candidates.logits, k)
    return Candidates(candidates.tokens(places), candidates.logits[places], True)


def by_id(candidates: Candidates) -> Candidates:
    """The candidates whose logits were changed: they need not be in order any more."""
    if candidates.ids is None or not candidates.ordered:
        return candidates
    places = np.argsort(candidates.ids)
    return Candidates(candidates.ids[places], candidates.logits[places])


def likeliest(logits: Floats, share: float, min_keep: int) -> Places:
    """Places of the fewest elements, likeliest first, whose probabilities reach `share`; among equals the lower place
    comes first, in the choice and in what is returned.

    At least one and at least min_keep, all where it is not reached.
    """
    weighed = weigh(logits)
    return _fewest(logits, weighed, weighed.top, share, min_keep, "left")


def most_typical(logits: Floats, share: float, min_keep: int) -> Places:
    """As `likeliest`, but those first whose surprise is nearest to the entropy, and their probabilities pass it."""
    weighed = weigh(logits)
    return _fewest(logits, weighed, weighed.top + np.float32(weighed.mean), share, min_keep, "right")


Side = Literal["left", "right"]
"""As of searchsorted: whether a share is to be reached, or passed."""


def _fewest(logits: Floats, weighed: Weighed, center: np.float32, share: float, min_keep: int, side: Side) -> Places:
    """The fewest elements, nearest to the center first, that make up a share, compared in float32."""
    n, weights, total = len(logits), weighed.weights, weighed.total
    few = np.log(total) - weighed.mean < np.log(_HEAD)  # by the entropy
    if n <= FEW or few or min_keep > _HEAD:
        head = best(_keys(logits, weighed, center), n if n <= FEW else max(_HEAD, min_keep))
        reached = np.cumsum(weights[head] / total)
        count = int(np.searchsorted(reached, np.float32(share), side)) + 1
        if count <= len(head) or len(head) == n:
            return np.sort(head[: max(count, min_keep)])
    places = _nearest(logits, weighed, center, float(np.float32(share)) * float(total), side)
    least = max(min_keep, 1)
    return places if len(places) >= least else np.sort(best(_keys(logits, weighed, center), least))


def _nearest(logits: Floats, weighed: Weighed, center: np.float32, wanted: float, side: Side) -> Places:
    """What is needed of a long row for an absolute weight, in an order of which only this is sure: the lower place
    first among equals.

    Sums up to 16 distances tell between which two the last element lies, and only what lies there is looked at closer.
    """
    sums = within(logits, weighed.weights, center, _LIMITS)
    at = int(np.searchsorted(sums, wanted, side))
    low, before = (_LIMITS[at - 1], float(sums[at - 1])) if at else (np.float32(0.0), 0.0)
    near, places = collect(logits, center, low, _LIMITS[at] if at < len(_LIMITS) else np.float32(np.inf))
    found = [near]
    while True:
        here, weights = logits[places], weighed.weights[places]
        apart = np.abs(here - center)
        if len(places) <= FEW or apart.min() == apart.max():
            break
        limits = apart.min() + min(apart.max() - apart.min(), _LIMITS[-1]) * _LIMITS / len(_LIMITS)
        sums = before + within(here, weights, center, limits)
        at = int(np.searchsorted(sums, wanted, side))
        if at:
            found.append(places[apart < limits[at - 1]])
            before = float(sums[at - 1])
        high = limits[at] if at < len(limits) else np.float32(np.inf)
        places = places[(apart >= (limits[at - 1] if at else low)) & (apart < high)]
    # Below the greatest logit the order is that of the logits, unrounded.
    order = np.argsort(-here if center == weighed.top else apart, kind="stable")
    reached = before + np.cumsum(weights[order], dtype=np.float64)
    last = places[order[: int(np.searchsorted(reached, wanted, side)) + 1]]
    return np.concatenate([*found, np.sort(last)])


def _keys(logits: Floats, weighed: Weighed, center: np.float32) -> Floats:
    """What rises the nearer an element is; below the greatest logit that is the logit itself, unrounded."""
    if center == weighed.top:
        return logits
    keys = distances(logits, center)
    return np.negative(keys, out=keys)

"""The merges of byte-pair encoding: in one word, the pair of the lowest rank first, of equals the leftmost.

`ranks` maps a pair, written with a space between its parts, to its rank; a rank belongs to one pair.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import pairwise

_NO_RANK = 1 << 62


def merge_short(symbols: str, ranks: Mapping[str, float]) -> list[str]:
    """The parts of a word, quadratic in its length, but with little to do at each step."""
    parts = list(symbols)
    found: list[float] = [ranks.get(f"{left} {right}", _NO_RANK) for left, right in pairwise(parts)]
    while found and (lowest := min(found)) != _NO_RANK:
        i = found.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        del found[i]
        if i:
            found[i - 1] = ranks.get(f"{parts[i - 1]} {parts[i]}", _NO_RANK)
        if i < len(found):
            found[i] = ranks.get(f"{parts[i]} {parts[i + 1]}", _NO_RANK)
    return parts


def merge_long(symbols: str, ranks: Mapping[str, float]) -> list[str]:
    """The same for a word of any length, in about linear time.

    Parts are a linked list. All places of one pair are merged in one go from left to right, unless a merge makes a pair
    of a lower rank, which then comes first.
    """
    n = len(symbols)
    parts = list(symbols)
    following, previous = list(range(1, n + 1)), list(range(-1, n - 1))
    places = _Places()
    for i, (left, right) in enumerate(pairwise(symbols)):
        if (rank := ranks.get(f"{left} {right}")) is not None:
            places.add(rank, i)
    while places.heap:
        rank = places.heap[0]
        todo = places.take(rank)
        while todo:
            i = todo.pop()
            j = following[i]
            # The place is out of date when another pair, or none, begins there now
            if not parts[i] or j >= n or ranks.get(f"{parts[i]} {parts[j]}") != rank:
                continue
            merged = parts[i] = parts[i] + parts[j]
            parts[j] = ""
            after, before = following[j], previous[i]
            following[i] = after
            if after < n:
                previous[after] = i
                if (made := ranks.get(f"{merged} {parts[after]}")) is not None:
                    places.add(made, i)
            if before >= 0 and (made := ranks.get(f"{parts[before]} {merged}")) is not None:
                places.add(made, before)
            # An equal rank: scores may be equal, and the new place is left of those that wait
            if places.heap and places.heap[0] <= rank:
                places.put_back(rank, todo)
                break
    return [part for part in parts if part]


class _Places:
    """Positions by rank: where a pair begins, or began when it was added."""

    def __init__(self) -> None:
        self.heap: list[float] = []
        """Ranks that have places."""
        self._new: dict[float, list[int]] = {}
        self._sorted: dict[float, list[int]] = {}

    def add(self, rank: float, place: int) -> None:
        if rank in self._new:
            self._new[rank].append(place)
        else:
            self._new[rank] = [place]
            heapq.heappush(self.heap, rank)

    def take(self, rank: float) -> list[int]:
        """All places of the lowest rank, which is `rank`; the leftmost is last."""
        while self.heap and self.heap[0] == rank:
            heapq.heappop(self.heap)
        todo, new = self._sorted.pop(rank, []), self._new.pop(rank, [])
        if new:
            todo += new
            todo.sort(reverse=True)
        return todo

    def put_back(self, rank: float, todo: list[int]) -> None:
        """Keep for later what `take` gave and was not used."""
        if todo:
            self._sorted[rank] = todo
            heapq.heappush(self.heap, rank)

"""Prompt lookup: what followed the last tokens when they stood in the text before.

Saxena, "Prompt Lookup Decoding" (2023, https://github.com/apoorvumang/prompt-lookup-decoding); llama.cpp has it as
common/ngram-cache.cpp and speculative-simple's ngram drafts. It costs microseconds, and helps where a text repeats
itself: edits of code, quotations, lists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from localllm.generate.speculation.drafter import Draft

LENGTHS = (8, 4, 2)
"""Of the beginnings that are looked up, the longest first: what follows a longer one is right more often."""


class NGrams:
    """Knows where each run of some tokens stood last in the text so far."""

    expected = (0.8, 0.5, 0.25)
    asks_first = False

    def __init__(self) -> None:
        self._seen: Sequence[int] = ()
        """What was read last: the same list has only grown since."""
        self._forget()

    def _forget(self) -> None:
        self._ids: list[int] = []
        self._ends: list[dict[tuple[int, ...], int]] = [{} for _ in LENGTHS]
        """Run -> where the token after it is, for each of LENGTHS."""

    def passed(self, ids: Sequence[int], stop: np.ndarray) -> None:
        """See Drafter: it follows the text when it guesses."""

    def draft(self, ids: Sequence[int], n: int) -> Draft:
        """See Drafter. The kind is the number of the length that was found."""
        self._read(ids)
        for kind, (length, ends) in enumerate(zip(LENGTHS, self._ends, strict=True)):
            if len(ids) > length and (at := ends.get(tuple(ids[-length:]))) is not None:
                return Draft(self._following(at, n), kind)
        return Draft()

    def _following(self, at: int, n: int) -> list[int]:
        """n tokens from `at` on; where the text ends before, it is taken to go on as it did from there."""
        found = self._ids[at : at + n]
        while len(found) < n:
            found += found[: n - len(found)]
        return found

    def _read(self, ids: Sequence[int]) -> None:
        """Take in what is new. The run at the very end has nothing after it yet, and is left for the next time."""
        known = len(self._ids)
        grew = ids is self._seen and 0 < known <= len(ids) and ids[known - 1] == self._ids[-1]
        if not grew and list(ids[:known]) != self._ids:
            self._forget()
            known = 0
        self._seen = ids
        self._ids += ids[known:]
        for length, ends in zip(LENGTHS, self._ends, strict=True):
            for end in range(max(known, length), len(ids)):
                ends[tuple(self._ids[end - length : end])] = end

    def close(self) -> None:
        """See Drafter."""
        self._forget()

"""Drafts for one text, no more of them than pay."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from localllm.generate.speculation.drafter import Draft, Drafter
from localllm.generate.speculation.watch import PROBE, SELDOM, SIZES, Watch


class Speculation:
    """A drafter and how it does. For one thread at a time."""

    def __init__(self, drafter: Drafter, watch: Watch | None = None) -> None:
        self.watch = watch or Watch(list(drafter.expected), probe=SELDOM if drafter.asks_first else PROBE)
        self._drafter = drafter
        self._draft = Draft()

    def guess(self, ids: Sequence[int], room: int) -> Sequence[int]:
        """Tokens that may follow `ids`, at most `room`."""
        most = min(room, SIZES[-1])
        if self._drafter.asks_first:
            self._draft = self._made(ids, self.watch.size(0, most) if most > 0 else 0)
            return self._draft.tokens
        draft = self._made(ids, most)
        n = self.watch.size(draft.kind, len(draft.tokens)) if draft.tokens else 0
        self._draft = Draft(draft.tokens[:n], draft.kind)
        return self._draft.tokens

    def _made(self, ids: Sequence[int], n: int) -> Draft:
        start = time.perf_counter()
        draft = self._drafter.draft(ids, n) if n > 0 else Draft()
        self.watch.note_drafting(len(draft.tokens), time.perf_counter() - start)
        return draft

    def passed(self, ids: Sequence[int], stop: np.ndarray) -> None:
        """A batch was evaluated, and the context holds `ids` now; stop: see Drafter."""
        self._drafter.passed(ids, stop)

    def note(self, rows: int, seconds: float, n_right: int) -> None:
        """A pass of so many rows has verified the last guesses: so many of them were right."""
        self.watch.note_pass(rows, seconds)
        if self._draft.tokens:
            self.watch.note_guesses(self._draft.kind, len(self._draft.tokens), n_right)

    def close(self) -> None:
        """Release what the drafter holds."""
        self._drafter.close()

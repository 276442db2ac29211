"""The sequences of a context as slots: which tokens each holds, who uses it, and what a new prompt can take over."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from localllm.engine.lane import Job, Lane, Slot

_WORTH_A_COPY = 8
"""Tokens that have to be shared before they are copied from another slot."""
_COPY_COST = 1 / 64
"""Of evaluating a token: what copying one costs, at most. A copy takes all that its source holds."""


class Sequences(Protocol):
    """What slots need of a context."""

    @property
    def n_ctx(self) -> int: ...
    @property
    def n_seq(self) -> int: ...
    def cut(self, seq_id: int, position: int) -> int: ...
    def reach(self, seq_id: int, position: int) -> int: ...
    def copy(self, source: int, target: int) -> None: ...


class Slots:
    """All slots of a context. What an answer leaves in its slot stays there for prompts that begin with it."""

    def __init__(self, context: Sequences) -> None:
        self._context = context
        self.all = [Slot(seq, np.zeros(context.n_ctx, np.int32)) for seq in range(context.n_seq)]
        self._clock = 0

    def free(self) -> bool:
        """Some slot serves nobody."""
        return any(slot.lane is None for slot in self.all)

    def take(self, lane: Lane) -> int:
        """Give a lane a slot that holds as much of its prompt as can be had; the number of those tokens.

        At least one token of the prompt is left to be evaluated, since its logits are wanted.
        """
        prompt, job = lane.job.prompt, lane.job
        idle = [slot for slot in self.all if slot.lane is None]
        source, kept = self._best(prompt, job)
        if source is not None and (source not in idle or (len(idle) > 1 and kept < source.n_held // 2)):
            # It is in use, or what it holds beyond is worth keeping.
            target = min((slot for slot in idle if slot is not source), key=_value)
            if kept < _WORTH_A_COPY or kept < source.n_held * _COPY_COST:
                source, kept = None, 0
        else:
            target = source or min(idle, key=_value)
        if source is not None and source is not target:
            self._context.copy(source.seq, target.seq)
            target.become(source.held)
        self.cut(target, kept if source is not None else 0)
        lane.slot, target.lane, target.job = target, lane, job.number
        self.touch(target)
        return target.n_held

    def _best(self, prompt: NDArray[np.int32], job: Job) -> tuple[Slot | None, int]:
        """The slot that most of a prompt can be had of, and how much."""
        best, most = None, 0
        for slot in self.all:
            if not _may_share(slot, job):
                continue
            kept = min(common(slot.held, prompt), len(prompt) - 1)
            if kept > most and (kept := self._context.reach(slot.seq, kept)) > most:
                best, most = slot, kept
        return best, most

    def cut(self, slot: Slot, position: int) -> None:
        """Forget what a slot holds from `position` on, or from before it."""
        slot.n_held = self._context.cut(slot.seq, position)

    def release(self, lane: Lane, keep: bool = True) -> None:
        """Take a lane's slot from it. keep: what it holds may serve others."""
        slot, lane.slot = lane.slot, None
        if slot is None:
            return
        slot.lane = None
        self.touch(slot)
        if not keep:
            self.cut(slot, 0)

    def touch(self, slot: Slot) -> None:
        self._clock += 1
        slot.used = self._clock


def _value(slot: Slot) -> tuple[bool, int]:
    """The slot with the least is taken first: an empty one, then the one that was used longest ago."""
    return slot.n_held > 0, slot.used


def _may_share(slot: Slot, job: Job) -> bool:
    """A request without the cache shares among its own answers alone."""
    if job.request.use_cache and job.request.prompt_logprobs is None:
        return True
    return slot.job == job.number


def common(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Length of the longest common beginning."""
    n = min(len(a), len(b))
    differ = a[:n] != b[:n]
    return int(differ.argmax()) if differ.any() else n

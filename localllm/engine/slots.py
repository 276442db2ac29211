"""The sequences of a context as slots: which tokens each holds, who uses it, and what a new prompt can take over."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from localllm.engine.lane import Lane, Slot
from localllm.generate.prefix_tree import common
from localllm.generate.prompt_cache import MIN_GAIN, SPAN_TOKENS, Keeper, Match, PromptCache

_WORTH_A_COPY = 8
"""Tokens that have to be shared before they are copied from another slot."""
_COPY_COST = 1 / 64
"""Of evaluating a token: what copying one costs, at most. A copy takes all that its source holds."""


class Sequences(Keeper, Protocol):
    """What slots need of a context."""

    @property
    def n_ctx(self) -> int: ...
    @property
    def n_seq(self) -> int: ...
    def cut(self, seq_id: int, position: int) -> int: ...
    def copy(self, source: int, target: int) -> None: ...
    def checkpoint(self, seq_id: int = 0) -> None: ...


class Slots:
    """All slots of a context. What an answer leaves in its slot stays there for prompts that begin with it; what is
    displaced goes into the cache, if there is one."""

    def __init__(self, context: Sequences, cache: PromptCache | None = None) -> None:
        self._context, self._cache = context, cache
        self.all = [Slot(seq, np.zeros(context.n_ctx, np.int32)) for seq in range(context.n_seq)]
        self._clock = 0

    def free(self) -> bool:
        """Some slot serves nobody."""
        return any(slot.lane is None for slot in self.all)

    def take(self, lane: Lane) -> int:
        """Give a lane a slot that holds as much of its prompt as can be had; the number of those tokens.

        At least one token of the prompt is left to be evaluated, since its logits are wanted.
        """
        prompt, request = lane.job.prompt, lane.job.request
        source, kept = self._best(lane)
        target, copies = self._target(source, kept)
        if not copies and source is not target:
            kept = 0
        match = self._find(lane, kept)
        if match is not None and match.n_past:
            target, copies = min(self._idle(), key=_value), False
        self.save(target)
        restored = match.restore_into(self._context, target.seq) if match is not None and match.n_past else 0
        if restored:
            target.become(prompt[:restored])
        elif copies and source is not None:
            self._context.copy(source.seq, target.seq)
            target.become(source.held)
        if not restored:
            self._cut(target, kept if copies or target is source else 0)
        target.lane, target.job, target.shared = lane, lane.job.number, request.use_cache
        lane.slot = target
        if match is not None and match.mark:
            lane.save_at = match.mark
            lane.mark(match.mark)
        self._touch(target)
        return target.n_held

    def _idle(self) -> list[Slot]:
        return [slot for slot in self.all if slot.lane is None]

    def _best(self, lane: Lane) -> tuple[Slot | None, int]:
        """The slot that most of a lane's prompt can be had of, and how much."""
        best, most, prompt = None, 0, lane.job.prompt
        for slot in self.all:
            if not _may_share(slot, lane):
                continue
            kept = min(common(slot.held, prompt), len(prompt) - 1)
            if kept > most and (kept := self._context.reach(slot.seq, kept)) > most:
                best, most = slot, kept
        return best, most

    def _target(self, source: Slot | None, kept: int) -> tuple[Slot, bool]:
        """The idle slot for a prompt of which `source` holds `kept` tokens, and whether they are to be copied there."""
        idle = self._idle()
        if source is None:
            return min(idle, key=_value), False
        if source in idle and (len(idle) == 1 or kept >= source.n_held // 2):
            return source, False
        copies = kept >= max(_WORTH_A_COPY, source.n_held * _COPY_COST)  # else: in use, or worth keeping for others
        return min((slot for slot in idle if slot is not source), key=_value), copies

    def _find(self, lane: Lane, kept: int) -> Match | None:
        """What the cache has beyond `kept` tokens."""
        if self._cache is None or not lane.job.request.use_cache or lane.tells_prompt:
            return None
        return self._cache.find(lane.job.request.ids, kept)

    def save(self, slot: Slot) -> None:
        """Keep what a slot holds in the cache, where that is worth it."""
        if self._cache is not None and slot.shared and slot.n_held:
            self._cache.save(self._context, slot.seq, slot.held.tolist())

    def read_on(self, slot: Slot, n_rows: int) -> None:
        """A prompt's next n_rows were read: a long one is kept piece by piece, so that no copy takes long."""
        if not self._context.moment_is_needed and slot.n_held % SPAN_TOKENS < n_rows:
            self.save(slot)

    def waits(self, lane: Lane) -> bool:
        """What the lane needs is not there yet, and worth waiting for."""
        return self._loads(lane) or self._follows(lane)

    def _loads(self, lane: Lane) -> bool:
        """Files of its beginning are being read, so that the others need not wait for that."""
        if not lane.looked and self._cache is not None and self._cache.has_disk:
            lane.looked = True
            match = self._find(lane, self._best(lane)[1])
            if match is not None and match.n_past and not match.is_loaded:
                lane.loading = threading.Thread(target=match.load, name="prompt files", daemon=True)
                lane.loading.start()
        return lane.loading is not None and lane.loading.is_alive()

    def _follows(self, lane: Lane) -> bool:
        """Another lane is just reading the same beginning: waiting for it is better than reading it, too."""
        if lane.follows is not None:
            leader, position = lane.follows
            if leader.slot is not None and leader.n_held < position:
                return True
            lane.follows = None
        prompt = lane.job.prompt
        best: tuple[int, Lane] | None = None
        for slot in self.all:
            if slot.lane is not None and slot.lane.reading and _may_share(slot, lane):
                shared = min(common(slot.lane.job.prompt, prompt), len(prompt) - 1)
                if shared >= slot.n_held + MIN_GAIN and (best is None or shared > best[0]):
                    best = shared, slot.lane
        if best is None or best[0] < self._best(lane)[1] + MIN_GAIN:
            return False
        shared, leader = best
        if self._context.moment_is_needed:
            leader.mark(shared)
        lane.follows = leader, shared
        return True

    def advanced(self, lane: Lane) -> None:
        """A lane has come further in its prompt."""
        slot = lane.slot
        if slot is None or not lane.marks or lane.marks[-1] != slot.n_held:
            return
        lane.marks.pop()
        self._context.checkpoint(slot.seq)
        if slot.n_held == lane.save_at:
            self.save(slot)

    def release(self, lane: Lane, keep: bool = True) -> None:
        """Take a lane's slot from it. keep: what it holds may serve others."""
        slot, lane.slot = lane.slot, None
        if slot is None:
            return
        slot.lane = None
        self._touch(slot)
        if not keep:
            self._cut(slot, 0)

    def _cut(self, slot: Slot, position: int) -> None:
        """Forget what a slot holds from `position` on, or from before it."""
        slot.n_held = self._context.cut(slot.seq, position)

    def _touch(self, slot: Slot) -> None:
        self._clock += 1
        slot.used = self._clock


def _value(slot: Slot) -> tuple[bool, int]:
    """The slot with the least is taken first: an empty one, then the one that was used longest ago."""
    return slot.n_held > 0, slot.used


def _may_share(slot: Slot, lane: Lane) -> bool:
    """A request without the cache shares among its own answers alone."""
    if lane.tells_prompt:
        return False
    return slot.job == lane.job.number or (slot.shared and lane.job.request.use_cache)

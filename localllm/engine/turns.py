"""The engine's loop, turn by turn: admit, pick rows, evaluate them, feed the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from localllm.engine.lane import Job, Lane
from localllm.engine.options import EngineOptions, SlotStatus, Totals
from localllm.engine.pace import Pace
from localllm.engine.slots import Sequences, Slots
from localllm.errors import Cancelled
from localllm.generate.answer import TextContext
from localllm.generate.samplers.candidates import Floats

ABORT_SECONDS = 0.06
"""A pass is broken off for a cancellation where it would go on for longer."""


class EngineContext(Sequences, TextContext, Protocol):
    """What the engine needs of a context (localllm.model's Context is one)."""

    def forward(
        self,
        tokens: Sequence[int],
        positions: None = None,
        seq_ids: list[int] | None = None,
        want_logits: list[bool] | None = None,
        stop: NDArray[np.int64] | None = None,
    ) -> Floats: ...


@dataclass(frozen=True)
class Part:
    """The rows of one lane in a pass: its next n_rows tokens."""

    lane: Lane
    n_rows: int
    whole: bool
    """With them all that is known of the sequence is evaluated: it can be fed."""

    @classmethod
    def of(cls, lane: Lane, room: int) -> Part:
        pending = lane.pending
        return cls(lane, min(room, pending), room >= pending)


class Turns:
    """Jobs in slots. All but `stop` belongs to the engine's thread."""

    def __init__(self, context: EngineContext, options: EngineOptions) -> None:
        self.context, self.options = context, options
        self.slots = Slots(context)
        self.pace = Pace()
        self.totals = Totals()
        self.lanes: list[Lane] = []
        """Those that have slots, in the order in which they got them."""
        self.stop: NDArray[np.int64] = np.zeros(1, np.int64)
        """1 breaks off the pass under way."""
        self.pass_ends = 0.0
        """When the pass under way is expected to end; 0 between passes."""
        self.last_rows, self.last_seconds = 0, 0.0
        self._hurry = False
        """The last pass was broken off: the next one is a short one, so that all goes on."""

    def admit(self, pop: Callable[[], Lane | None]) -> None:
        """Give free slots to lanes that wait."""
        while self.slots.free() and (lane := pop()):
            try:
                self._admit(lane)
            except Exception as error:
                self.fail(lane.job, error)

    def _admit(self, lane: Lane) -> None:
        lane.admitted = time.perf_counter()
        stats = lane.sequence.stats
        stats.queue_seconds = lane.admitted - lane.job.submitted
        stats.cached_tokens = self.slots.take(lane)
        self.lanes.append(lane)
        self.totals.cached_tokens += stats.cached_tokens
        if lane.index == 0:
            lane.job.read(lane.n_held, stats.cached_tokens)

    def end(self, jobs: Iterable[Job], reason: str) -> None:
        """End jobs before their time."""
        for job in jobs:
            if job.done:
                continue
            self._release(job)
            try:
                job.end(reason)
            except Exception as error:
                job.fail(error)
            self.totals.cancelled += 1

    def fail(self, job: Job, error: BaseException) -> None:
        """A job has come to an error: it ends, and what its slots hold is not used again."""
        self._release(job, keep=False)
        if not job.done:
            self.totals.failed += 1
            job.fail(error)

    def _release(self, job: Job, keep: bool = True) -> None:
        for lane in job.lanes:
            self.slots.release(lane, keep)
        self.lanes = [lane for lane in self.lanes if lane.slot is not None]

    # --- a pass

    def pick(self) -> list[Part]:
        """The rows of the next pass: those of all answers, then pieces of the prompts that are read."""
        room = self.context.n_batch
        parts: list[Part] = []
        for lane in self.lanes:
            if not lane.reading and room:
                parts.append(Part.of(lane, room))
                room -= parts[-1].n_rows
        n_answers = self.context.n_batch - room
        gap = ABORT_SECONDS if self._hurry else self.options.max_gap
        room = self.pace.piece(n_answers or int(self._hurry), self.context.n_batch, gap)
        for lane in self.lanes:
            if lane.reading and room > 0:
                parts.append(Part.of(lane, room))
                room -= parts[-1].n_rows
        return parts

    def expect(self, parts: list[Part]) -> None:
        """A pass with these rows begins."""
        self.pass_ends = time.perf_counter() + self.pace.seconds(sum(part.n_rows for part in parts))

    def run(self, parts: list[Part]) -> list[Lane]:
        """Evaluate rows and feed the answers; lanes that may wait for a slot now: the prompt of their job is read."""
        tokens, seqs, want = [], [], []
        for part in parts:
            lane, slot = part.lane, part.lane.slot
            assert slot is not None
            tokens += lane.sequence.ids[slot.n_held : slot.n_held + part.n_rows]
            seqs += [slot.seq] * part.n_rows
            want += [False] * (part.n_rows - 1) + [part.whole]
        start = time.perf_counter()
        try:
            logits = self.context.forward(tokens, seq_ids=seqs, want_logits=want, stop=self.stop)
        except Cancelled:
            self.totals.aborted += 1
            self._hurry = True
            return []
        finally:
            self.pass_ends = 0.0
        seconds = time.perf_counter() - start
        self._count(parts, len(tokens), seconds)
        return self._feed(parts, logits)

    def _count(self, parts: list[Part], n_rows: int, seconds: float) -> None:
        self._hurry = False
        self.pace.note(n_rows, seconds)
        self.last_rows, self.last_seconds = n_rows, seconds
        self.totals.passes += 1
        if any(part.lane.reading for part in parts):
            self.totals.prompt_seconds += seconds
        else:
            self.totals.answer_seconds += seconds

    def _feed(self, parts: list[Part], logits: Floats) -> list[Lane]:
        """Hand out what a pass has computed."""
        ready: list[Lane] = []
        row = 0
        for part in parts:
            lane, slot = part.lane, part.lane.slot
            if slot is None:  # its job has failed in another lane
                row += part.whole
                continue
            was_reading = lane.reading
            slot.add(lane.sequence.ids[slot.n_held : slot.n_held + part.n_rows])
            try:
                if was_reading:
                    self.totals.prompt_tokens += part.n_rows
                    if lane.index == 0:
                        lane.job.read(lane.n_held, lane.sequence.stats.cached_tokens)
                else:
                    lane.sequence.stats.steps += part.n_rows
                if part.whole:
                    if was_reading and lane.index == 0:
                        ready += lane.job.lanes[1:]
                    self._say(lane, logits[row])
            except Exception as error:
                self.fail(lane.job, error)
            row += part.whole
        return [lane for lane in ready if not lane.job.done]

    def _say(self, lane: Lane, logits: Floats) -> None:
        piece = lane.sequence.feed(logits)
        self.totals.answer_tokens += len(piece.tokens)
        now, stats = time.perf_counter(), lane.sequence.stats
        if not lane.first_token:
            lane.first_token, stats.prompt_seconds = now, now - lane.admitted
        stats.answer_seconds = now - lane.first_token
        if lane.sequence.finished:
            self.slots.release(lane)
            self.lanes.remove(lane)
        lane.job.say(lane, piece)
        if lane.job.done:
            self.totals.ended += 1

    def status(self) -> tuple[SlotStatus, ...]:
        """What the slots do; any thread may ask."""
        return tuple(_status(slot.seq, slot.n_held, slot.lane) for slot in self.slots.all)


def _status(seq: int, n_held: int, lane: Lane | None) -> SlotStatus:
    if lane is None:
        return SlotStatus(seq, "idle", n_held)
    sequence = lane.sequence
    state = "reading" if n_held < sequence.n_prompt else "answering"
    return SlotStatus(seq, state, n_held, sequence.n_prompt, sequence.stats.answer_tokens)

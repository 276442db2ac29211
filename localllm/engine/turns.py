"""The engine's loop, turn by turn: admit, pick rows, evaluate them, feed the answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from localllm.engine.lane import Job, Lane
from localllm.engine.options import EngineOptions, SlotStatus, Totals
from localllm.engine.pace import Pace
from localllm.engine.parts import Part, pick
from localllm.engine.request import PromptRead
from localllm.engine.slots import Sequences, Slots
from localllm.errors import Cancelled, NotFiniteError
from localllm.generate.answer import TextContext
from localllm.generate.logprobs import token_logprobs
from localllm.generate.prompt_cache import PromptCache
from localllm.generate.samplers.row import Floats
from localllm.generate.sequence import check_finite

_log = logging.getLogger("localllm.engine")


class EngineContext(Sequences, TextContext, Protocol):
    """What the engine needs of a context (localllm.model's Context is one)."""

    def forward(
        self,
        tokens: Sequence[int],
        positions: None = None,
        seq_ids: Sequence[int] | None = None,
        want_logits: Sequence[bool] | None = None,
        stop: NDArray[np.int64] | None = None,
    ) -> Floats: ...


class Turns:
    """Jobs in slots. All but `stop` belongs to the engine's thread."""

    def __init__(
        self, context: EngineContext, options: EngineOptions, n_vocab: int, cache: PromptCache | None = None
    ) -> None:
        self.context, self.options, self._n_vocab = context, options, n_vocab
        self.slots = Slots(context, cache)
        self.pace = Pace()
        self.totals = Totals()
        self.lanes: list[Lane] = []
        """Those that have slots, in the order in which they got them."""
        self.stop: NDArray[np.int64] = np.zeros(1, np.int64)
        """1 breaks off the pass under way."""
        self.outbox: list[Job] = []
        """Jobs that have events to tell."""
        self.pass_ends = 0.0
        """When the pass under way is expected to end; 0 between passes."""
        self.last_rows, self.last_seconds = 0, 0.0
        self._hurry = False
        """The last pass was broken off: the next one is a short one, so that all goes on."""

    def admit(self, pop: Callable[[], Lane | None]) -> None:
        """Give free slots to lanes that wait."""
        while self.slots.free() and (lane := pop()):
            if lane.job.done:  # another one of its answers has failed
                continue
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
            job.end(reason)
            self.totals.cancelled += 1

    def fail(self, job: Job, error: BaseException) -> None:
        """A job has come to an error: it ends, and what its slots hold is not used again."""
        self._release(job, keep=False)
        if not job.done:
            self.totals.failed += 1
            job.fail(error)

    def tell(self) -> None:
        """Tell the events that wait: all of a pass at once, so that who hears of them works during the next one."""
        while self.outbox:
            job = self.outbox.pop(0)
            try:
                job.tell()
            except Exception as error:
                if job.done:  # it may be a callback that fails at each event
                    _log.error("a request's callback failed", exc_info=error)
                self.fail(job, error)

    def _release(self, job: Job, keep: bool = True) -> None:
        for lane in job.lanes:
            self.slots.release(lane, keep)
        self.lanes = [lane for lane in self.lanes if lane.slot is not None]

    # --- a pass

    def pick(self) -> list[Part]:
        """The rows of the next pass."""
        answering = [lane for lane in self.lanes if not lane.reading]
        reading = [lane for lane in self.lanes if lane.reading]
        gap = self.options.abort_seconds if self._hurry else self.options.max_gap
        n_answers = len(answering) or int(self._hurry)
        room = self.pace.piece(n_answers, self.context.n_batch, gap) if reading or answering else 0
        return pick(answering, reading, room, self._n_vocab)

    def expect(self, parts: list[Part]) -> None:
        """A pass with these rows begins."""
        self.pass_ends = time.perf_counter() + self.pace.seconds(sum(part.n_rows for part in parts))

    def interrupt(self, job: Job) -> None:
        """Break off the pass under way, if it has rows of this job and would go on for long. Any thread may call it,
        holding the lock that `expect` is called under."""
        left = self.pass_ends - time.perf_counter()
        if left > self.options.abort_seconds and any(lane.slot for lane in job.lanes):
            self.stop[0] = 1

    def run(self, parts: list[Part]) -> list[Lane]:
        """Evaluate rows and feed the answers; lanes that may wait for a slot now: the prompt of their job is read."""
        tokens: list[int] = []
        seqs: list[int] = []
        want: list[bool] = []
        for part in parts:
            tokens += part.tokens
            seqs += [part.slot.seq] * part.n_rows
            want += part.want
        start = time.perf_counter()
        try:
            logits = self.context.forward(tokens, seq_ids=seqs, want_logits=want, stop=self.stop)
        except Cancelled:
            self.totals.aborted += 1
            self._hurry = True
            return []
        except NotFiniteError as error:
            # Nothing of the batch counts: the others go through their rows again, to the same bits.
            for part in parts:
                if part.slot.seq in error.sequences:
                    self.fail(part.lane.job, error)
            if not error.sequences:
                raise
            return []
        finally:
            self.pass_ends = 0.0
        self._count(parts, len(tokens), time.perf_counter() - start)
        return [lane for part, rows in _rows(parts, logits) for lane in self._feed(part, rows)]

    def _count(self, parts: list[Part], n_rows: int, seconds: float) -> None:
        self._hurry = False
        self.pace.note(n_rows, seconds)
        self.last_rows, self.last_seconds = n_rows, seconds
        n_prompt = sum(part.n_rows for part in parts if part.reading)
        totals = self.totals
        totals.passes += 1
        totals.prompt_tokens += n_prompt
        totals.prompt_seconds += seconds * n_prompt / n_rows
        totals.answer_seconds += seconds * (n_rows - n_prompt) / n_rows

    def _feed(self, part: Part, logits: Floats) -> list[Lane]:
        """Hand a lane what a pass has computed of it; the lanes that were waiting for that.

        logits: float32 [n_logits, n_vocab]."""
        lane = part.lane
        if lane.slot is None:  # its job has failed in another lane
            return []
        part.slot.add(part.tokens)
        try:
            if part.reading:
                self._read(part, logits)
            else:
                lane.sequence.stats.steps += part.n_rows
            if part.whole:
                self._say(lane, logits[-1])
        except Exception as error:
            self.fail(lane.job, error)
            return []
        return lane.job.lanes[1:] if part.whole and part.reading and lane.index == 0 and not lane.job.done else []

    def _read(self, part: Part, logits: Floats) -> None:
        """A piece of a prompt was read."""
        lane, job = part.lane, part.lane.job
        if lane.index == 0:
            job.read(lane.n_held, lane.sequence.stats.cached_tokens)
        if lane.tells_prompt and len(logits):
            check_finite(logits, lane.n_held)
            n_top = job.request.prompt_logprobs or 0
            following = job.request.ids[lane.n_held - part.n_rows + 1 : lane.n_held + 1]
            job.prompt_logprobs += token_logprobs(logits[: len(following)], following, n_top)
        self.slots.advanced(lane)
        if part.whole and lane.index == 0:
            self.slots.save(part.slot)
            if lane.tells_prompt:
                job.emit(PromptRead(job.prompt_logprobs))
        else:
            self.slots.read_on(part.slot, part.n_rows)

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

    def keep_all(self) -> None:
        """Before the context goes: what slots hold goes into the cache."""
        for slot in self.slots.all:
            self.slots.save(slot)

    def status(self) -> tuple[SlotStatus, ...]:
        """What the slots do; any thread may ask."""
        return tuple(_status(slot.seq, slot.n_held, slot.lane) for slot in self.slots.all)


def _rows(parts: list[Part], logits: Floats) -> Iterator[tuple[Part, Floats]]:
    """Each part with its rows of the logits."""
    at = 0
    for part in parts:
        n = sum(part.want)
        yield part, logits[at : at + n]
        at += n


def _status(seq: int, n_held: int, lane: Lane | None) -> SlotStatus:
    if lane is None:
        return SlotStatus(seq, "idle", n_held)
    sequence = lane.sequence
    state = "reading" if n_held < sequence.n_prompt else "answering"
    return SlotStatus(seq, state, n_held, sequence.n_prompt, sequence.stats.answer_tokens)

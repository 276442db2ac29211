"""Requests under way: a job for each, a lane for each of its answers."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from localllm.engine.request import Ended, Event, Failed, OnEvent, Reading, Request, Said
from localllm.errors import LocalllmError, ShortageError
from localllm.generate.piece import Piece, TokenLogprob
from localllm.generate.sequence import AnswerSequence
from localllm.runtime.shortage import shortage

_log = logging.getLogger("localllm.engine")


@dataclass(eq=False)
class Slot:
    """Sequence `seq` of the context, the tokens that it holds, and the answer that it serves."""

    seq: int
    _ids: NDArray[np.int32]
    n_held: int = 0
    lane: Lane | None = None
    job: int = 0
    """Number of the job that it served last."""
    shared: bool = False
    """What it holds may serve other jobs."""
    used: int = 0
    """When it was last used: a number that grows."""

    @property
    def held(self) -> NDArray[np.int32]:
        return self._ids[: self.n_held]

    def add(self, tokens: Sequence[int]) -> None:
        """These were evaluated."""
        self._ids[self.n_held : self.n_held + len(tokens)] = tokens
        self.n_held += len(tokens)

    def become(self, ids: NDArray[np.int32]) -> None:
        self.n_held = len(ids)
        self._ids[: self.n_held] = ids


@dataclass(eq=False)
class Lane:
    """One answer of a job."""

    job: Job
    index: int
    """Of the answer. The first lane reads the prompt for all."""
    sequence: AnswerSequence
    slot: Slot | None = None
    admitted: float = 0.0
    first_token: float = 0.0
    marks: list[int] = field(default_factory=list)
    """Positions of the prompt at which to stop for a moment, the last one first: others go on from there."""
    save_at: int = 0
    """The one of them at which what was read is worth keeping."""
    follows: tuple[Lane, int] | None = None
    """It waits until another lane, which reads the same beginning, has read so many tokens."""
    looked: bool = False
    """For files of the cache that it needs."""
    loading: threading.Thread | None = None
    """It waits until they are read."""

    @property
    def n_held(self) -> int:
        """Tokens of the sequence that were evaluated."""
        return self.slot.n_held if self.slot else 0

    @property
    def reading(self) -> bool:
        """The prompt has not been read."""
        return self.n_held < self.sequence.n_prompt

    @property
    def pending(self) -> int:
        """Tokens that are to be evaluated next."""
        return len(self.sequence.ids) - self.n_held

    @property
    def tells_prompt(self) -> bool:
        """It reads the whole prompt, for the logits at each token."""
        return self.index == 0 and self.job.request.prompt_logprobs is not None

    def mark(self, position: int) -> None:
        if position > self.n_held and position not in self.marks:
            self.marks = sorted([*self.marks, position], reverse=True)


@dataclass(eq=False)
class Job:
    """A request, its answers, and who is told of them."""

    request: Request
    on_event: OnEvent
    sequences: Sequence[AnswerSequence]
    number: int
    """Its own, above 0."""
    outbox: list[Job]
    """Of the engine: the jobs that have events to tell."""
    submitted: float = field(default_factory=time.perf_counter)
    end_reason: str = ""
    """Why it is to end before its answers do; set by any thread."""
    done: bool = False
    """No event will follow those that wait."""
    lanes: list[Lane] = field(default_factory=list)
    prompt: NDArray[np.int32] = field(init=False)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.prompt = np.asarray(self.request.ids, np.int32)
        self.lanes = [Lane(self, i, sequence) for i, sequence in enumerate(self.sequences)]
        self.n_open = len(self.lanes)
        self._events: deque[Event] = deque()

    @property
    def expires(self) -> float:
        """The moment of its deadline."""
        return math.inf if self.request.deadline is None else self.submitted + self.request.deadline

    def emit(self, event: Event) -> None:
        """Have an event told, by `tell`."""
        if not self.done:
            if not self._events:
                self.outbox.append(self)
            self._events.append(event)

    def tell(self) -> None:
        """Tell the events that wait. Raises what the callback raises; what would follow is dropped then."""
        try:
            while self._events:
                self.on_event(self._events.popleft())
        finally:
            self._events.clear()

    def say(self, lane: Lane, piece: Piece) -> None:
        """Have a piece told, and the end of its answer where it has come."""
        if piece.text or piece.tokens:
            self.emit(Said(lane.index, piece))
        if lane.sequence.finished:
            sequence = lane.sequence
            self.emit(Ended(lane.index, sequence.stats, sequence.stop_text, sequence.ending))
            self.n_open -= 1
            self.done = not self.n_open

    def read(self, n_held: int, cached: int) -> None:
        """Have told how far the prompt has been read."""
        self.emit(Reading(n_held, len(self.prompt), cached))

    def end(self, reason: str) -> None:
        """End all answers that are not finished."""
        for lane in self.lanes:
            if not lane.sequence.finished:
                self.say(lane, lane.sequence.end(reason))

    def fail(self, error: BaseException) -> None:
        """Have an error told; nothing follows."""
        if self.done:
            return
        if text := shortage(error):
            error = ShortageError(text)
        if not isinstance(error, LocalllmError):
            _log.error("a request failed", exc_info=error)
            error = LocalllmError(f"this request failed: {type(error).__name__} (the log has more)")
        self.emit(Failed(error))
        self.done = True


class Handle:
    """A request that was submitted."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel

    def cancel(self) -> None:
        """End it, from any thread: its answers end with the reason "cancelled". Nothing happens to one that is over."""
        self._cancel()

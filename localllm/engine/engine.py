"""The engine: requests come in from any thread, one thread of its own answers many of them at once."""

from __future__ import annotations

import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from localllm.engine.lane import Handle, Job, Lane
from localllm.engine.options import EngineOptions, EngineStatus
from localllm.engine.queue import FairQueue
from localllm.engine.request import Ended, Event, Failed, OnEvent, Request
from localllm.engine.turns import EngineContext, Turns
from localllm.errors import LocalllmError, QueueFullError, ShortageError, UsageError
from localllm.generate.answer import TextModel, new_sequence
from localllm.generate.params import Sampling
from localllm.generate.prompt_cache import CacheOptions
from localllm.generate.sampling import sampler_of
from localllm.generate.sequence import AnswerSequence
from localllm.runtime.shortage import shortage
from localllm.runtime.system import available_memory

MAX_ANSWERS = 128
"""Of one request."""
SPARE_BYTES = 64 << 20
"""Memory that has to be free for one more request."""
_POLL = 0.005
"""Seconds between two looks whether files are read."""
_log = logging.getLogger("localllm.engine")


class Vocabulary(Protocol):
    """What the engine needs of a model's configuration."""

    @property
    def n_vocab(self) -> int: ...


class EngineModel(TextModel, Protocol):
    """What the engine needs of a model (localllm.generate.session's Model is one)."""

    @property
    def config(self) -> Vocabulary: ...
    @property
    def max_positions(self) -> int: ...
    def context(self, n_ctx: int | None = None, n_seq: int = 1, n_batch: int = 512) -> EngineContext: ...


class Engine:
    """Answers requests with one context of a model. An answer is the same, bit for bit, whatever runs beside it."""

    def __init__(self, model: EngineModel, options: EngineOptions | None = None) -> None:
        """Raises NotEnoughMemoryError for a context that does not fit."""
        self.model, self.options = model, options or EngineOptions()
        wanted = self.options
        self._context = model.context(n_ctx=wanted.n_ctx, n_seq=wanted.n_seq, n_batch=wanted.n_batch)
        self.n_ctx = min(self._context.n_ctx, model.max_positions)
        on_disk = wanted.cache_folder is not None
        keeps = on_disk or wanted.cache_bytes != 0
        kept = CacheOptions(wanted.cache_folder, wanted.cache_disk, wanted.cache_bytes)
        self._cache = kept.of(self._context) if keeps else None
        self._keeps_on_disk = on_disk
        self._turns = Turns(self._context, wanted, model.config.n_vocab, self._cache)
        self._queue = FairQueue()
        self._leaving: list[Job] = []
        """Cancelled, and not ended yet."""
        self._numbers = itertools.count(1)
        self._news = threading.Condition()
        """Guards what follows, the queue, `_leaving`, and the flag that stops a pass."""
        self._next_deadline = math.inf
        """The earliest of those that may come."""
        self._draining = self._closing = False
        self._error = ""
        self._looked, self._short = -math.inf, False
        self._moved = time.monotonic()
        """When the loop last came to the end of a turn, or had nothing to do."""
        self._thread = threading.Thread(target=self._run, name="localllm-engine", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # the system lets no more threads start
            self._context.close()
            raise

    def submit(self, request: Request, on_event: OnEvent) -> Handle:
        """Have a request answered; any thread may call this. on_event is called in the engine's thread.

        Raises ContextFullError for a prompt that does not fit, UsageError for an impossible request, QueueFullError
        where too many wait, LocalllmError where the engine is closed.
        """
        job = Job(request, on_event, self._sequences(request), next(self._numbers), self._turns.outbox)
        with self._news:
            self._check_open()
            self._check_room()
            if not self._busy():
                self._moved = time.monotonic()
            self._turns.totals.requests += 1
            self._queue.push(job.lanes[0])
            self._next_deadline = min(self._next_deadline, job.expires)
            self._news.notify_all()
        return Handle(lambda: self._cancel(job))

    def answer(self, request: Request) -> Iterator[Event]:
        """Submit a request and yield its events; the last one is a Failed, or the Ended of the last answer. Closing the
        iterator cancels it."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        handle = self.submit(request, events.put)
        n_open = request.n
        try:
            while n_open:
                event = events.get()
                n_open = 0 if isinstance(event, Failed) else n_open - isinstance(event, Ended)
                yield event
        finally:
            handle.cancel()

    def status(self) -> EngineStatus:
        """How things stand; any thread may ask."""
        turns = self._turns
        with self._news:
            n_queue, stalled = len(self._queue), self._busy() and self._quiet() > self.options.stall_seconds
        alive = self._thread.is_alive() and not self._error and not stalled
        cache = self._cache.status() if self._cache else None
        return EngineStatus(
            alive, self.n_ctx, turns.status(), n_queue, replace(turns.totals), cache,
            turns.last_rows, turns.last_seconds, self._error,
        )  # fmt: skip

    def drain(self, seconds: float) -> bool:
        """Take no more requests, and wait until those that were taken are answered; False if they are not in time."""
        end = time.monotonic() + seconds
        with self._news:
            self._draining = True
            self._news.notify_all()
            return self._news.wait_for(lambda: not self._busy(), max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """End all answers as cancelled, and release the context. May be called twice."""
        with self._news:
            self._closing = True
            self._turns.stop[0] = 1
            self._news.notify_all()
        self._thread.join()

    # --- for other threads

    def _sequences(self, request: Request) -> list[AnswerSequence]:
        if not 1 <= request.n <= MAX_ANSWERS:
            raise UsageError(f"n is {request.n}: it must lie between 1 and {MAX_ANSWERS}")
        n_vocab = self.model.config.n_vocab
        for token in (min(request.ids, default=0), max(request.ids, default=0)):
            if not 0 <= token < n_vocab:
                raise UsageError(f"token id {token} is not in the vocabulary of {n_vocab}")
        samplings = (_seeded(request.sampling, index) for index in range(request.n))
        samplers = [sampler_of(self.model, sampling, request.processors) for sampling in samplings]
        return [
            new_sequence(
                self.model, request.ids, sampler, self.n_ctx, request.max_tokens, request.stop, request.constraint,
                request.logprobs, request.show_special, request.ignore_eog, request.sampled_logprobs,
            )
            for sampler in samplers
        ]  # fmt: skip

    def _cancel(self, job: Job) -> None:
        with self._news:
            if job.done or job.end_reason:
                return
            job.end_reason = "cancelled"
            self._leaving.append(job)
            self._turns.interrupt(job)
            self._news.notify_all()

    def _check_open(self) -> None:
        if self._error:
            raise LocalllmError(f"the engine has stopped: {self._error}")
        if self._draining or self._closing:
            raise LocalllmError("the engine is shutting down: it takes no more requests")
        if not self._thread.is_alive():
            raise LocalllmError("the engine is that of the process that this one was forked from: make another one")

    def _check_room(self) -> None:
        """Raise QueueFullError where one more request is too many."""
        n_queue, limit = len(self._queue), self.options.max_queue
        free = sum(slot.lane is None for slot in self._turns.slots.all)
        if n_queue >= limit + free:
            waiting = f"{n_queue} requests are waiting, which is as many as are taken"
            wrong = waiting if limit else "all slots are answering, and nobody may wait"
        elif self._memory_is_short():
            wrong = "memory is short"
        else:
            return
        self._turns.totals.refused += 1
        raise QueueFullError(f"{wrong}: try again later")

    def _memory_is_short(self) -> bool:
        """Looked up once a second: it takes a millisecond."""
        now = time.monotonic()
        if now - self._looked > 1.0:
            self._looked, self._short = now, available_memory() < SPARE_BYTES
        return self._short

    def _busy(self) -> bool:
        return bool(self._turns.lanes or self._leaving or self._turns.outbox) or not self._queue.empty

    def _quiet(self) -> float:
        return time.monotonic() - self._moved

    # --- the engine's thread

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as raised:
            text = shortage(raised)
            error = ShortageError(text) if text else raised
            if isinstance(error, LocalllmError):
                _log.error("the engine has stopped: %s", error)
            else:
                _log.critical("the engine's loop has failed", exc_info=error)
            self._error = str(error) if isinstance(error, LocalllmError) else type(error).__name__
            self._abandon(error)
        finally:
            if self._cache:
                self._cache.close()
            self._context.close()

    def _turn(self) -> bool:
        """One round; False once the engine is closed."""
        if self._keeps_on_disk and not self._busy():
            self._turns.keep_all()  # now it keeps nobody waiting
        with self._news:
            while not (self._closing or self._busy()):
                self._news.notify_all()  # for `drain`
                self._news.wait()
                self._moved = time.monotonic()
            leaving, self._leaving = self._leaving, []
            if leaving:
                self._queue.remove(lambda lane: bool(lane.job.end_reason))
            late = self._late()
            closing = self._closing
        self._turns.end(leaving, "cancelled")
        self._turns.end(late, "deadline")
        if closing:
            self._turns.end([*(lane.job for lane in self._turns.lanes), *self._left()], "cancelled")
            self._turns.tell()
            self._turns.keep_all()
            return False
        self._turns.tell()
        self._turns.admit(self._pop)
        self._turns.tell()
        parts = self._turns.pick()
        if parts:
            with self._news:
                if self._leaving or self._closing:  # came meanwhile
                    return True
                self._turns.stop[0] = 0
                self._turns.expect(parts)
            ready = self._turns.run(parts)
            if ready:
                with self._news:
                    self._queue.push_first(ready)
        else:  # files of the cache are being read
            with self._news:
                if not (self._leaving or self._closing):
                    self._news.wait(_POLL)
        self._moved = time.monotonic()
        return True

    def _late(self) -> list[Job]:
        """Jobs whose deadline is over, taken out of the queue."""
        now = time.perf_counter()
        if now < self._next_deadline:
            return []
        gone = self._queue.remove(lambda lane: lane.job.expires <= now)
        jobs = {lane.job for lane in (*gone, *self._turns.lanes)}
        left = {lane.job for lane in self._queue} | {job for job in jobs if job.expires > now}
        self._next_deadline = min((job.expires for job in left), default=math.inf)
        return [job for job in jobs if job.expires <= now]

    def _pop(self) -> Lane | None:
        with self._news:
            return self._queue.pop(self._ready)

    def _ready(self, lane: Lane) -> bool:
        return not self._turns.slots.waits(lane)

    def _left(self) -> list[Job]:
        with self._news:
            return [lane.job for lane in self._queue.remove(lambda _: True)]

    def _abandon(self, error: BaseException) -> None:
        """Tell every request why the loop has failed."""
        told = error if isinstance(error, LocalllmError) else LocalllmError(f"the engine has stopped: {self._error}")
        for job in {lane.job for lane in self._turns.lanes} | set(self._left()) | set(self._leaving):
            job.fail(told)
        self._turns.lanes = []
        self._turns.tell()
        with self._news:
            self._leaving = []
            self._news.notify_all()


def _seeded(sampling: Sampling, index: int) -> Sampling:
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index)

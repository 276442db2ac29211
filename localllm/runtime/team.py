"""The thread team: the calling thread and its helpers replay plans.

A plan that lately took a few milliseconds is replayed by the caller itself, in compiled code, with the helpers beside
it: nobody has to be woken. During a longer one the caller waits, so that Ctrl-C reaches Python at once, and a helper
more works in its place. Helpers are Python threads that stay in compiled code (ctypes drops the GIL): they spin for the
next job for a few milliseconds, giving way to others, and then sleep, so that an idle process takes no processor time.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from typing import Final

import numpy as np

from localllm.errors import Cancelled, LocalllmError
from localllm.kernels.objects import Key, load
from localllm.kernels.team import CALLER, IDLE, Job, Wait
from localllm.kernels.team import Team as TeamBlock
from localllm.kernels.thread import SCRATCH_BYTES, Thread
from localllm.runtime.arrays import ALIGNMENT, aligned
from localllm.runtime.plan import Bound
from localllm.runtime.system import yield_address
from localllm.runtime.turn import Turn, after_fork
from localllm.signals import whole

_SPINS = 2000
"""Looks at a word before the first sched_yield: some 50 microseconds."""
_PATIENCE = 4000
"""Looks (most of them yields) for a next job before a helper goes to sleep: a few milliseconds."""
_POLL_SECONDS: Final = 1.0
_QUICK_SECONDS: Final = 0.03
"""A plan that took less is replayed by the caller, who cannot be interrupted meanwhile."""

_STOP: Final = TeamBlock.offset("stop") // 8
_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
KEYS = (Key("team", "caller"), Key("team", "server", (0,)))
_TIMED_KEYS = (Key("team", "timed_caller"), Key("team", "server", (1,)))


class Team:
    """n threads. `run` replays a plan on all of them; runs of several callers follow one another, and those of teams
    that were given the same lock."""

    def __init__(self, n_threads: int, turn: Turn | None = None) -> None:
        self.n_threads = n_threads
        self._load(KEYS)
        self._block = aligned(-(-TeamBlock.size // ALIGNMENT) * ALIGNMENT)
        self._words = self._block.view(np.int64)
        self._scratch = aligned(n_threads * SCRATCH_BYTES)
        self._threads = aligned(n_threads * 2 * ALIGNMENT)
        self._first = self._threads.ctypes.data
        """Thread 0's block: the caller's, when it takes part."""
        self._job = aligned(Job.size).view(np.int64)
        self._job_address = self._job.ctypes.data
        self._turn = turn or Turn()
        self._closed = False
        self._begin()
        after_fork(self)
        scratch = self._scratch.ctypes.data
        for ith in range(n_threads):
            block = self._threads[ith * 2 * ALIGNMENT :][: Thread.size].view(Thread.dtype)
            block[0] = (ith, n_threads, scratch + ith * SCRATCH_BYTES, 0, 0, self._block.ctypes.data)

    def _begin(self) -> None:
        """No helper runs yet, and there is no job."""
        n = self.n_threads
        self._news = _held()
        """Released by a helper when a job has ended that the caller waits for: a hint to read the state."""
        self._sleeping = [_held() for _ in range(n)]
        self._asleep = [False] * n
        self._gate = threading.Lock()
        self._helpers = [
            threading.Thread(target=self._work, args=(ith,), name=f"localllm-{ith}", daemon=True) for ith in range(n)
        ]
        self._started = n
        """Helpers from this number on run."""
        self._words[:] = 0
        self._set("state", IDLE)
        self._set("spins", _SPINS)
        self._set("yield_", yield_address())

    def forked(self) -> None:
        """In a process that was forked, which has none of the helpers: they are started again when needed."""
        self._begin()

    def _load(self, keys: tuple[Key, Key]) -> None:
        addresses = load(keys)
        self._call, self._serve = (_KERNEL(addresses[key]) for key in keys)

    def _set(self, field: str, value: int) -> None:
        self._words[TeamBlock.offset(field) // 8] = value

    def _idle(self, ith: int = -1) -> bool:
        """No job, or none for helper `ith`."""
        state = int(self._words[0])
        return bool(state & IDLE or (ith == 0 and state & CALLER))

    def run(self, plan: Bound, cancel: np.ndarray, rows: int = 1) -> None:
        """Replay a plan and wait for its end. KeyboardInterrupt stops it and goes on to the caller.

        cancel: an int64, not 0 to stop: kernels then claim no more work, and the plan ends at its next stage. Any
        thread may set it, before the run or while it lasts. rows: of the batch, to tell how long it will take.
        Raises Cancelled if the plan did not come to its end, LocalllmError once the team is closed.
        """
        with self._turn:
            if self._closed:
                raise LocalllmError("the model is closed")
            start = time.perf_counter()
            quick = plan.seconds_a_row * rows < _QUICK_SECONDS
            self._job[:] = (plan.address, len(plan), cancel.ctypes.data, CALLER if quick else 0)
            self._start(int(quick))
            if quick:
                self._help(1)
                self._call(self._job_address, self._first)
            else:
                self._watch(cancel)
            if self._words[_STOP]:
                raise Cancelled("stopped")
            plan.seconds_a_row = (time.perf_counter() - start) / rows

    def _watch(self, cancel: np.ndarray) -> None:
        """Post a job for the helpers alone, and wait."""
        interrupted: BaseException | None = None
        try:
            self._call(self._job_address, self._first)
        except BaseException as error:
            interrupted = error
        # An interrupt may come at any point; the threads use the caller's memory: they are waited for all the same.
        while not self._idle():
            try:
                if interrupted:
                    cancel[0] = 1
                self._help(0)
                self._news.acquire(timeout=_POLL_SECONDS)
            except BaseException as error:
                interrupted = interrupted or error
        if interrupted:
            raise interrupted

    @whole
    def _start(self, first: int) -> None:
        """Start the helpers from number `first` on that do not run yet; before a job is posted: where the system lets
        none start (RuntimeError), nobody would work at it."""
        while self._started > first:
            self._helpers[self._started - 1].start()
            self._started -= 1

    def _help(self, first: int) -> None:
        """Wake the helpers from number `first` on, if any sleeps."""
        if True in self._asleep[first:]:
            self._wake(first)

    def _wake(self, first: int) -> None:
        with self._gate:
            for ith in range(first, self.n_threads):
                if self._asleep[ith]:
                    self._asleep[ith] = False
                    self._sleeping[ith].release()

    def time_operations(self) -> None:
        """From now on, add up the cycles of each stage, where `Bound.cycles` finds them. It stays so."""
        self._load(_TIMED_KEYS)

    def close(self) -> None:
        """Let the threads end. A team that is closed cannot run again."""
        with self._turn:
            self._closed = True
            self._wake(0)

    def _work(self, ith: int) -> None:
        thread, wait = self._first + ith * 2 * ALIGNMENT, aligned(Wait.size).view(np.int64)
        while True:
            wait[:] = (_PATIENCE, 0)
            self._serve(wait.ctypes.data, thread)
            if wait[1]:
                # Released twice without a wait in between: one hint is enough.
                with contextlib.suppress(RuntimeError):
                    self._news.release()
            elif not self._sleep(ith):
                return

    def _sleep(self, ith: int) -> bool:
        """Sleep until there may be a job; False once the team is closed.

        Who posts a job reads _asleep afterwards, and this says that it sleeps before it reads the job: one of
        both sees the other."""
        with self._gate:
            if self._closed:
                return False
            self._asleep[ith] = True
            if not self._idle(ith):
                self._asleep[ith] = False
                return True
        self._sleeping[ith].acquire()
        return not self._closed


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock

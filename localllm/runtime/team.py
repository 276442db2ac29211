"""The thread team: workers that replay plans while the calling thread waits, interruptibly.

Workers are Python threads that stay in compiled code (ctypes drops the GIL): they spin for the next job for a few
milliseconds, giving way to others, and then sleep, so that an idle process takes no processor time.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from typing import Final

import numpy as np

from localllm.errors import Cancelled
from localllm.kernels.objects import Key, load
from localllm.kernels.team import Team as TeamBlock
from localllm.kernels.team import Wait
from localllm.kernels.thread import SCRATCH_BYTES, Thread
from localllm.runtime.plan import ALIGNMENT, Bound, aligned
from localllm.runtime.system import yield_address

_SPINS = 2000
"""Looks at a word before the first sched_yield: some 50 microseconds."""
_PATIENCE = 4000
"""Looks (most of them yields) for a next job before a worker goes to sleep: a few milliseconds."""
_POLL_SECONDS: Final = 1.0

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
WORKER, TIMED_WORKER, WAIT = Key("team", "worker", (0,)), Key("team", "worker", (1,)), Key("team", "wait")


class Team:
    """n threads. `run` replays a plan on all of them; runs of several callers take turns."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        addresses = load([WORKER, WAIT])
        self._worker, self._wait = _KERNEL(addresses[WORKER]), _KERNEL(addresses[WAIT])
        # One line between the words that different threads write.
        self._block = aligned(-(-TeamBlock.size // ALIGNMENT) * ALIGNMENT)
        self._words = self._block.view(np.int64)
        self._scratch = np.zeros(n_threads * SCRATCH_BYTES + ALIGNMENT, np.uint8)
        self._threads = aligned(n_threads * 2 * ALIGNMENT)
        self._blocks: list[np.ndarray] = []
        self._turn = threading.Lock()
        self._done = [0] * n_threads
        """The last job that each worker has finished."""
        self._news = _held()
        """Released by a worker that has finished a job: a hint to look at _done."""
        self._sleeping = [_held() for _ in range(n_threads)]
        self._asleep = [False] * n_threads
        self._gate = threading.Lock()
        self._closed = False
        self._started = False
        self._set("n_threads", n_threads)
        self._set("spins", _SPINS)
        self._set("yield_", yield_address())

    def _set(self, field: str, value: int) -> None:
        self._words[TeamBlock.offset(field) // 8] = value

    def _get(self, field: str) -> int:
        return int(self._words[TeamBlock.offset(field) // 8])

    def _start(self) -> None:
        base = self._block.ctypes.data
        scratch = -(-self._scratch.ctypes.data // ALIGNMENT) * ALIGNMENT
        for ith in range(self.n_threads):
            block = self._threads[ith * 2 * ALIGNMENT :][: Thread.size].view(Thread.dtype)
            block[0] = (ith, self.n_threads, scratch + ith * SCRATCH_BYTES, 0, 0, base)
            self._blocks.append(block)
            name = f"localllm-{ith}"
            threading.Thread(target=self._work, args=(ith, block.ctypes.data), name=name, daemon=True).start()
        self._started = True

    def run(self, plan: Bound, cancel: np.ndarray) -> None:
        """Replay a plan and wait for its end. KeyboardInterrupt stops it and goes on to the caller.

        cancel: an int64, not 0 to stop: kernels then claim no more work, and the plan ends at its next stage. Any
        thread may set it, before the run or while it lasts. Raises Cancelled if the plan did not come to its end.
        """
        with self._turn:
            interrupted: BaseException | None = None
            job = self._get("job") + 1
            try:
                self._post(plan, cancel, job)
            except BaseException as error:
                interrupted = error
            # An interrupt may come at any point; the threads use the caller's memory: they are waited for all the same.
            while self._get("job") == job and min(self._done) < job:
                try:
                    if interrupted:
                        cancel[0] = 1
                    self._wake_all()
                    self._news.acquire(timeout=_POLL_SECONDS)
                except BaseException as error:
                    interrupted = interrupted or error
            if interrupted:
                raise interrupted
            if self._get("stop"):
                raise Cancelled("stopped")

    def _post(self, plan: Bound, cancel: np.ndarray, job: int) -> None:
        if not self._started:
            self._start()
        for block in self._blocks:
            block["cancel"] = cancel.ctypes.data
        self._set("stop", 0)
        self._set("ops", plan.address)
        self._set("n_ops", len(plan))
        self._set("job", job)

    def _wake_all(self) -> None:
        with self._gate:
            for ith in range(self.n_threads):
                if self._asleep[ith]:
                    self._asleep[ith] = False
                    self._sleeping[ith].release()

    def time_operations(self) -> None:
        """From now on, add up the cycles of each stage, where `Bound.cycles` finds them. It stays so."""
        self._worker = _KERNEL(load([TIMED_WORKER])[TIMED_WORKER])

    def close(self) -> None:
        """Let the threads end. A team that is closed cannot run again."""
        with self._turn:
            self._closed = True
            self._wake_all()

    def _work(self, ith: int, thread: int) -> None:
        seen = aligned(Wait.size).view(Wait.dtype)
        job = 0
        while True:
            seen[0] = (job, _PATIENCE)
            self._wait(seen.ctypes.data, thread)
            if int(seen["job"][0]) == job and not self._sleep(ith, job):
                return
            if self._get("job") == job:
                continue
            job += 1
            self._worker(thread, thread)
            self._done[ith] = job
            # Released twice without a wait in between: one hint is enough.
            with contextlib.suppress(RuntimeError):
                self._news.release()

    def _sleep(self, ith: int, job: int) -> bool:
        """Sleep until the next job, or not at all if it has come meanwhile; False once the team is closed."""
        with self._gate:
            if self._get("job") != job or self._closed:
                return not self._closed
            self._asleep[ith] = True
        self._sleeping[ith].acquire()
        return not self._closed


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock

"""Processes (`compiler`) that compile kernels side by side. They end with the process that started them."""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from localllm.errors import FileError, LocalllmError, NotEnoughMemoryError
from localllm.signals import whole

from .simd.targets import current

Kernel = TypeVar("Kernel")
"""What str makes a kernel's name of, a line."""
Progress = Callable[[int, int], None]
_END_SECONDS = 2.0
"""That a worker has for its end before it is killed."""


def compile_all(
    keys: Sequence[Kernel], is_there: Callable[[Kernel], bool], cache: Path, progress: Progress | None
) -> None:
    """Compile kernels into a cache (as LOCALLLM_CACHE says it) in several worker processes; each takes the next one
    when it has finished one. is_there: whether another process has compiled one meanwhile.

    Raises FileError where the cache cannot be written, NotEnoughMemoryError, LocalllmError.
    """
    waiting: queue.SimpleQueue[Kernel] = queue.SimpleQueue()
    # Processes that start at the same time begin with different kernels, and have those of one another later.
    for key in random.Random(os.getpid()).sample(keys, len(keys)):
        waiting.put(key)
    done: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
    workers: list[_Worker] = []
    try:
        _start(workers, min(len(keys), _n_workers()), cache, lambda worker: worker.feed(waiting, is_there, done))
        if progress:
            progress(0, len(keys))
        for finished in range(1, len(keys) + 1):
            # A worker that fails takes its kernel with it: no other will do that one.
            if broken := done.get():
                raise broken.complaint()
            if progress:
                progress(finished, len(keys))
    finally:
        _stop(workers)


@whole
def _start(workers: list[_Worker], n: int, cache: Path, feed: Callable[[_Worker], None]) -> None:
    try:
        for _ in range(n):
            workers.append(_Worker(cache))
            threading.Thread(target=feed, args=(workers[-1],), daemon=True).start()
    except (OSError, RuntimeError) as error:  # a limit on processes, threads or open files
        if not workers:
            what = getattr(error, "strerror", None) or error
            raise LocalllmError(f"kernels could not be compiled: no process for it can be started ({what})") from None


@whole
def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()


def _n_workers() -> int:
    return max(1, min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8))


class _Worker:
    """A process that compiles one kernel after another."""

    def __init__(self, cache: Path) -> None:
        package_root = str(Path(import_module("localllm").__file__ or "").parent.parent)
        paths = [package_root, os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in paths if p), "LOCALLLM_CACHE": str(cache), "PYTHONWARNINGS": "",
            "LOCALLLM_TARGET": current().name,  # the system may permit a child more than it did its parent: AMX
        }  # fmt: skip
        # In a group of its own: Ctrl-C is for the process that started it, which then ends it.
        group: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}
        # -P: no modules of the folder that the user happens to be in.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.compiler"], env=environment, text=True,
            errors="surrogateescape", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **group,
        )  # fmt: skip
        self._errors: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def feed(
        self,
        waiting: queue.SimpleQueue[Kernel],
        is_there: Callable[[Kernel], bool],
        done: queue.SimpleQueue[_Worker | None],
    ) -> None:
        """To `done` go None for each kernel that is in the cache, and the worker itself when it fails."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # both are pipes: for mypy
        assert stdout is not None
        try:
            while True:
                key = waiting.get_nowait()
                if not is_there(key):
                    stdin.write(f"{key}\n")
                    stdin.flush()
                    if stdout.readline().strip() != str(key):
                        done.put(self)
                        return
                done.put(None)
        except queue.Empty:
            stdin.close()
        except (OSError, ValueError):  # it has ended, or was stopped
            done.put(self)

    def _listen(self) -> None:
        stderr = self._process.stderr
        assert stderr
        self._errors.extend(line for line in stderr if line.strip())

    def complaint(self) -> LocalllmError:
        """Why it failed."""
        self._listener.join(_END_SECONDS)
        last = self._errors[-1].strip() if self._errors else _without_a_word(self._process)
        kind, _, text = last.partition(": ")
        if kind == f"{FileError.__module__}.FileError":
            return FileError(text)
        if last.startswith("MemoryError") or "LLVM ERROR: out of memory" in last:
            return NotEnoughMemoryError("kernels could not be compiled: there is not enough memory for the compiler")
        return LocalllmError(f"kernels could not be compiled: {last}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _without_a_word(process: subprocess.Popen[str]) -> str:
    try:
        status = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        status = 0
    if status >= 0:
        return "the compiler process ended without a word"
    name = signal.Signals(-status).name
    hint = ": the system does so when memory is short" if name == "SIGKILL" else ""
    return f"the compiler process was ended by {name}{hint}"

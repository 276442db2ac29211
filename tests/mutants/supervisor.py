"""Keeps workers running until all mutants had their turn; whoever dies or stands still has found something."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

HANG_SECONDS = 2.0
"""Of processor time that one mutant may take; what compiles kernels is another process."""
_STUCK_SECONDS = 900.0
"""Of time on the clock: it waits for what does not come; kernels to be compiled may take minutes."""
_POLL = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Finding:
    """A mutant that did what none may do."""

    number: int
    what: str
    text: str


@dataclass
class Tally:
    """Of all mutants so far: how many, by outcome, by seed and outcome, by check."""

    n: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    models: dict[str, dict[str, int]] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)
    edits: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, name: str, edits: list[str], kind: str, where: str, seconds: float) -> None:
        self.n += 1
        self.seconds += seconds
        for table, key in ((self.kinds, kind), (self.models.setdefault(name, {}), kind)):
            table[key] = table.get(key, 0) + 1
        if kind == "refused":
            self.checks[where] = self.checks.get(where, 0) + 1
        if len(edits) == 1:
            of_edit = self.edits.setdefault(edits[0], {})
            of_edit[kind] = of_edit.get(kind, 0) + 1


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    number: int
    """Of the mutant that it runs."""
    since: float
    cpu: float | None = None
    """Of its processor time when it was first seen at this mutant; None: not yet."""
    rest: bytes = b""
    warm: bool = False


class Supervisor:
    """Runs mutants first, first + 1, ... up to stop of a seed. told: called with each finding, and now and then with
    None. names: of the models, all if none; worker: what Python runs for it."""

    def __init__(
        self,
        seed: int,
        first: int,
        stop: int,
        processes: int,
        told: Callable[[Finding | None], None],
        names: Sequence[str] = (),
        worker: Sequence[str] = ("-m", "tests.mutants.worker"),
    ) -> None:
        self.seed, self.stop, self.processes, self.told = seed, stop, processes, told
        self._names, self._worker = names, worker
        self.tally = Tally()
        self._next = [first + k for k in range(processes)]
        self._selector = selectors.DefaultSelector()

    @property
    def next(self) -> int:
        """All mutants before this one have had their turn."""
        return min(self._next)

    def run(self) -> None:
        try:
            for lane in range(self.processes):
                self._start(lane)
            while self._selector.get_map():
                for key, _ in self._selector.select(_POLL):
                    self._read(key.data[0], key.data[1])
                for key in list(self._selector.get_map().values()):
                    self._watch(key.data[0], key.data[1])
                self.told(None)
        finally:
            for key in list(self._selector.get_map().values()):
                key.data[1].process.kill()

    def _start(self, lane: int) -> None:
        if self._next[lane] >= self.stop:
            return
        numbers = [self.seed, self._next[lane], self.stop, self.processes]
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, *self._worker, *map(str, numbers), *self._names]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)
        worker = _Worker(process, errors, self._next[lane], time.monotonic())
        self._selector.register(process.stdout, selectors.EVENT_READ, (lane, worker))

    def _read(self, lane: int, worker: _Worker) -> None:
        assert worker.process.stdout
        got = os.read(worker.process.stdout.fileno(), 1 << 16)
        if not got:
            self._ended(lane, worker)
            return
        *lines, worker.rest = (worker.rest + got).split(b"\n")
        for line in lines:
            self._line(json.loads(line))
        if lines:
            self._next[lane] = worker.number = int(json.loads(lines[-1])[0]) + self.processes
            worker.since, worker.cpu, worker.warm = time.monotonic(), None, True

    def _line(self, told: list[Any]) -> None:
        number, name, edits, kind, where, seconds, text = told
        self.tally.add(name, edits, kind, where, seconds)
        if kind == "failed":
            self.told(Finding(number, f"{where} ({name}: {', '.join(edits)})", text))

    def _watch(self, lane: int, worker: _Worker) -> None:
        """End a worker that takes too long for its mutant. Its first one comes after imports."""
        used = _cpu(worker.process.pid)
        if worker.cpu is None:
            worker.cpu = used
        limit = HANG_SECONDS if worker.warm else 60.0
        if used - worker.cpu > limit or time.monotonic() - worker.since > _STUCK_SECONDS:
            worker.process.send_signal(signal.SIGUSR1)  # it writes where it is
            time.sleep(0.3)
            worker.process.kill()
            worker.since = time.monotonic()

    def _ended(self, lane: int, worker: _Worker) -> None:
        assert worker.process.stdout
        self._selector.unregister(worker.process.stdout)
        worker.process.stdout.close()
        status = worker.process.wait()
        if status or worker.number < self.stop:
            worker.errors.seek(0)
            text = worker.errors.read()[-6000:].decode(errors="replace")
            what = "stands still" if status == -signal.SIGKILL else f"ends the process with {status}"
            self.tally.add("?", [], "failed", what, 0.0)
            self.told(Finding(worker.number, what, text))
            self._next[lane] = worker.number + self.processes
        worker.errors.close()
        self._start(lane)


def _cpu(pid: int) -> float:
    """Seconds of processor time."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS

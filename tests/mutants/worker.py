"""One process that runs mutants, one after another, and writes a line for each: what became of it.

python -m tests.mutants.worker SEED FIRST STOP STEP [MODEL ...]
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import resource
import signal
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path

from tests.mutants.guarded_weights import Region, guarded
from tests.mutants.mutant import Mutant, make
from tests.mutants.seeds import SEEDS
from tests.mutants.use import Outcome, shared_threads, use

MEGABYTES = 300
"""That a mutant may take beside what the process has."""
_LIMIT = 3 << 30
"""Bytes of addresses beside those at the start: so that a mistake does not take the machine."""
_GUARDED_SHARE = 6
"""One of so many lies under guard."""


class Runner:
    """Runs mutants in this process, one after another."""

    def __init__(self, folder: Path) -> None:
        self._path, self._region = folder / "mutant.gguf", Region()
        self._before = _reset_peak()

    def run(self, mutant: Mutant) -> Outcome:
        """What becomes of it. "failed": it is no error of ours, or it took too much memory."""
        self._path.unlink(missing_ok=True)  # what is still mapped must not be cut
        self._path.write_bytes(mutant.content)
        under_guard = mutant.rng.randrange(_GUARDED_SHARE) == 0
        with guarded(self._region) if under_guard else nullcontext():
            outcome = use(self._path, mutant.rng)
        return self._within_memory() or outcome

    def _within_memory(self) -> Outcome | None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if peak <= self._before + (MEGABYTES << 10):
            return None
        gc.collect()
        taken, self._before = (peak - self._before) >> 10, _reset_peak()
        return Outcome("failed", "memory", f"took {taken} MB")


def _reset_peak() -> int:
    """Begin to count the most memory again; what is taken now, in KiB."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit() -> None:
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _LIMIT, resource.RLIM_INFINITY))


def main() -> None:
    seed, first, stop, step = map(int, sys.argv[1:5])
    names = tuple(sys.argv[5:]) or tuple(SEEDS)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    out = os.dup(1)
    os.dup2(2, 1)
    where = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=where if where.is_dir() else None) as folder, shared_threads():
        runner = Runner(Path(folder))
        make(seed, first, names)
        _limit()
        gc.freeze()
        for i in range(first, stop, step):
            start = time.process_time()
            mutant = make(seed, i, names)
            outcome = runner.run(mutant)
            line = [i, mutant.name, mutant.edits, outcome.kind, outcome.where, time.process_time() - start]
            os.write(out, json.dumps([*line, outcome.text if outcome.kind == "failed" else ""]).encode() + b"\n")


if __name__ == "__main__":
    main()

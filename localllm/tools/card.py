"""What `localllm bench` measures for everybody: a card of one machine, one model, and what their speed is beside."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import localllm
from localllm.errors import LocalllmError
from localllm.runtime import tuned
from localllm.runtime.system import available_memory
from localllm.runtime.tuned import Threads
from localllm.terminal.figures import size
from localllm.tools import against, bench, disturbance, limits, peers
from localllm.tools.machine import Machine, machine

if TYPE_CHECKING:
    from localllm.generate.session import Model

PEER = "llamacpp"
INSTALL_PEER = peers.PEERS[PEER].install
_SECONDS = 15.0
"""After which a test has no more runs than it must have."""
_PEER_SECONDS = 25.0
"""The same, for pairs of runs beside llama.cpp."""
_CROWDED = 0.5
"""Share of all cores that others use, from which on no peer is run: its threads spin while they wait for each other,
and with others on their cores that takes seconds a token."""
_PEER_PATIENCE = 20.0
"""Seconds for both sides to start, over twice of what their runs should take; then they are ended."""
_STARTS = 3
_START_SECONDS = 120.0
"""After which a start is given up, and the process ended."""
_PEER_MEMORY = 2.2
"""Bytes for a byte of the model that both sides take: each has it once, and llama.cpp copies what it repacks."""
_SPARE = 1 << 30

Say = Callable[[str], None]


@dataclass(frozen=True)
class Card:
    """One machine and one model."""

    date: str
    machine: Machine
    model: dict[str, Any]
    """file, name, type, architecture, format, size (bytes), n_params."""
    threads: Threads
    tuned: bool
    """The numbers of threads are those that `bench --tune` keeps."""
    tests: tuple[limits.Limited, ...]
    start_seconds: float | None
    """From the command `localllm run` to its first word; None where the model writes no text."""
    peak_memory: int
    """Bytes of this process, the weights that it read among them; 0 where the system does not tell."""
    peer: tuple[against.Comparison, ...]
    peer_note: str
    """Which peer and how it was measured, or why it was not."""
    warnings: tuple[str, ...]
    disturbance: disturbance.Disturbance

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "date": self.date,
            "version": {"localllm": localllm.__version__, "python": platform.python_version()},
            "machine": self.machine.fields(),
            "model": self.model,
            "n_threads": self.threads.decode,
            "n_threads_batch": self.threads.prompt,
            "tuned": self.tuned,
            "tests": [{**t.fields(), "samples_ns": t.samples_ns, "samples_ts": t.samples_ts} for t in self.tests],
            "start_seconds": self.start_seconds,
            "peak_memory": self.peak_memory,
            "peer": [row.fields() for row in self.peer],
            "peer_note": self.peer_note,
            "disturbance": self.disturbance.fields(),
            "warnings": list(self.warnings),
        }


def measure(
    load: Callable[[], Model],
    tests: list[bench.Test],
    repetitions: int = 5,
    warmup: bool = True,
    kv_type: str = "f16",
    swa_full: bool = False,
    say: Say = lambda text: None,
) -> Card:
    """Load the model, by these options, and measure all of it. say(text): what is done next.

    The peer comes last, once this process has let go of the model.
    """
    model = load()
    try:
        before = disturbance.read()
        results = []
        for test in tests:
            say(f"Measuring {test.name} ...")
            results.append(bench.measure(model, test, repetitions, warmup, kv_type, _build(), _SECONDS))
        found = disturbance.between(before, disturbance.read(), disturbance.on_battery())
        peak = peak_memory()
        work = [limits.work(model, test) for test in tests]
        threads, path, about = model.team.threads, model.path, _about(model)
        writes_text = model.tokenizer is not None and model.network.causal
    finally:
        model.close()
    say("Measuring what the machine can do at most ...")
    top = {n: limits.measured(n) for n in sorted({int(result.model["n_threads"]) for result in results})}
    limited = tuple(limits.beside(*pair, top) for pair in zip(results, work, strict=True))
    say("Measuring the start ...")
    start = start_seconds(path) if writes_text else None
    why_not = _no_peer(about["size"], found.others > _CROWDED * found.cores, kv_type == "f16" and not swa_full)
    rows, peer_note = ((), why_not) if why_not else _beside_peer(path, threads, results, say)
    return Card(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=machine(),
        model=about,
        threads=threads,
        tuned=tuned.kept().get(tuned.size_class(about["size"])) == threads,
        tests=limited,
        start_seconds=start,
        peak_memory=peak,
        peer=rows,
        peer_note=peer_note,
        warnings=tuple(disturbance.warnings({r.test.name: r.samples_ts for r in results}, found)),
        disturbance=found,
    )


def _build() -> str:
    return f"localllm {localllm.__version__}"


def _about(model: Model) -> dict[str, Any]:
    name = model.metadata.get("general.name")
    return {
        "file": Path(model.path).name,
        "name": name if isinstance(name, str) else "",
        "type": model.description,
        "architecture": model.architecture,
        "format": model.description.rpartition(" ")[2],
        "size": model.n_bytes,
        "n_params": model.n_params,
    }


def peak_memory() -> int:
    """The most bytes that this process had in memory at a time; 0 where the system does not tell."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def start_seconds(path: str, runs: int = _STARTS) -> float | None:
    """Seconds from starting `localllm run` to the first byte of its answer, the median of some; None where it gives
    none."""
    command = [sys.executable, "-m", "localllm.cli.main", "run", "-m", path, "-n", "1", "--temp", "0", "--no-cache"]
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        process = subprocess.Popen(
            [*command, "-p", "Hello"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        late = threading.Timer(_START_SECONDS, process.kill)
        late.start()
        try:
            with process:
                assert process.stdout
                first = os.read(process.stdout.fileno(), 1)
                seconds.append(time.perf_counter() - begun)
        finally:
            late.cancel()
            process.kill()
        if not first or process.returncode:
            return None
    return median(seconds)


def _no_peer(n_bytes: int, crowded: bool, defaults: bool) -> str:
    """Why llama.cpp cannot stand beside a model of so many bytes; empty where it can."""
    if peers.PEERS[PEER].version is None:
        return f"To see llama.cpp beside it: {INSTALL_PEER}"
    if not defaults:
        return "llama.cpp was left out: defaults alone are compared, not --kv-type or --swa-full"
    if crowded:
        return "llama.cpp was left out: while other programs use the processor, a ratio says nothing"
    needed, free = int(_PEER_MEMORY * n_bytes) + _SPARE, available_memory()
    if free < needed:
        return f"llama.cpp was left out: both at once need {size(needed)}, {size(free)} are free"
    return ""


def _beside_peer(
    path: str, threads: Threads, results: list[bench.Result], say: Say
) -> tuple[tuple[against.Comparison, ...], str]:
    """The same tests in alternating pairs, and how they were measured, or why they could not be."""
    n_prompt, n_gen = (max(getattr(r.test, name) for r in results) for name in ("n_prompt", "n_gen"))
    n_depth = max(r.test.n_depth for r in results)
    job = peers.Job(path, threads.decode, n_prompt, n_gen, n_depth, threads.prompt)
    pair = 2 * sum(bench.mean(r.samples_ns) for r in results) / 1e9
    pairs = pairs_within(_PEER_SECONDS, pair)
    try:
        say(f"Measuring beside llama.cpp, {pairs} pairs of runs ...")
        measured = against.compare(job, PEER, pairs, lambda done: None, _PEER_PATIENCE + 2 * (pairs + 1) * pair)
    except LocalllmError as error:
        return (), f"llama.cpp could not be measured: {error}"
    peer = peers.PEERS[PEER]
    name = f"{peer.package} {peer.version}" + (f", built for {peer.built_for}" if peer.built_for else "")
    rows = tuple(against.comparisons(job, measured))
    if not rows[0].has_ratio:
        return (), f"llama.cpp was left out: {against.doubts(rows)}"
    return rows, f"llama.cpp is {name}: medians of {rows[0].n_quiet} alternating pairs of runs"


def pairs_within(seconds: float, pair: float) -> int:
    """How many pairs of runs, each of which takes so long, fit: 3 to 5."""
    return max(3, min(5, int(seconds / pair) if pair > 0 else 5))

"""localllm beside a peer: the same model, tokens, threads and lengths, in alternating runs of two processes.

Peers are the rows of peers.py. Each side runs in a process of its own that stays loaded and sleeps
while the other works, is warmed up once, reuses no cache but that of the depth requested, and is timed by its own
clock. Speeds are compared pair by pair, since a machine's speed drifts. A pair
during which other programs, or the host of a virtual machine, used more than a tenth of the cores is shown and not
counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import compress
from statistics import median
from typing import Any

from localllm.errors import LocalllmError, UsageError
from localllm.runtime.processors import processor_name
from localllm.tools import disturbance, peers
from localllm.tools.disturbance import Disturbance
from localllm.tools.peers import Job

FEWEST_PAIRS = 3
"""Without which a ratio says nothing."""
OTHERS = 0.1
"""Share of all cores that others may use while a pair is measured."""
_SEED = 1


@dataclass(frozen=True)
class Pair:
    """One run of each side, one after the other. pp, tg: tokens a second, (ours, theirs)."""

    pp: tuple[float, float]
    tg: tuple[float, float]
    meanwhile: Disturbance

    @property
    def others(self) -> float:
        """Share of all cores that other programs used, and the host of a virtual machine took away."""
        return (self.meanwhile.others + self.meanwhile.stolen) / self.meanwhile.cores

    @property
    def is_quiet(self) -> bool:
        return self.others <= OTHERS


@dataclass(frozen=True)
class Comparison:
    """Tokens a second of one test, ours and theirs, pair by pair; and which pairs count, since nothing else ran."""

    test: str
    ours: list[float]
    theirs: list[float]
    others: list[float]
    """Share of all cores that others used during a pair."""
    needed: int = FEWEST_PAIRS
    """Quiet pairs, without which there is no ratio."""

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def n_quiet(self) -> int:
        return sum(self._quiet)

    @property
    def has_ratio(self) -> bool:
        return self.n_quiet >= self.needed

    @property
    def _quiet(self) -> list[bool]:
        return [others <= OTHERS for others in self.others]

    def _median(self, figures: Sequence[float]) -> float | None:
        return median(compress(figures, self._quiet)) if self.has_ratio else None

    def fields(self) -> dict[str, Any]:
        """All pairs; the medians are those of the quiet ones, and None where there are too few."""
        return {
            "test": self.test,
            "ours": self.ours,
            "theirs": self.theirs,
            "ratios": self.ratios,
            "others": [round(others, 3) for others in self.others],
            "quiet": self._quiet,
            "median_ours": self._median(self.ours),
            "median_theirs": self._median(self.theirs),
            "median_ratio": self._median(self.ratios),
        }


def compare(
    job: Job, peer: str, repetitions: int, progress: Callable[[list[Pair]], None], seconds: float | None = None
) -> list[Pair]:
    """As many quiet pairs, or twice as many of both kinds; progress(pairs so far) is called after each.

    seconds: after which both sides are ended; the pairs so far are given, if there are FEWEST_PAIRS.
    Raises UsageError for an unknown peer, LocalllmError where a side fails.
    """
    _must_be_here(peer)
    pairs: list[Pair] = []
    late = threading.Event()
    try:
        with _Side(peers.OURS, job) as ours, _Side(peer, job) as theirs, _ended(seconds, late, ours, theirs):
            for side in (ours, theirs):
                side.warm_up()
            while sum(pair.is_quiet for pair in pairs) < repetitions and len(pairs) < 2 * repetitions:
                # Who goes first alternates too.
                pairs.append(_pair(ours, theirs, len(pairs) % 2 == 0, _SEED + 1 + len(pairs)))
                progress(pairs)
    except LocalllmError:
        if not late.is_set():
            raise
        if len(pairs) < FEWEST_PAIRS:
            raise LocalllmError(f"{FEWEST_PAIRS} pairs of runs took more than {seconds:.0f} s") from None
    return pairs


def _must_be_here(name: str) -> None:
    if name not in peers.PEERS:
        raise UsageError(f"--against {name}: unknown; there is {', '.join(peers.PEERS)}")
    peer = peers.PEERS[name]
    if peer.version is None:
        raise UsageError(f"--against {name}: the package {peer.package} is not here: {peer.install}")


def _pair(ours: _Side, theirs: _Side, ours_first: bool, seed: int) -> Pair:
    children = ours.pid, theirs.pid
    before = disturbance.read(children)
    got = {side.name: side.measure(seed) for side in ((ours, theirs) if ours_first else (theirs, ours))}
    meanwhile = disturbance.between(before, disturbance.read(children))
    a, b = got[ours.name], got[theirs.name]
    return Pair((a["pp"], b["pp"]), (a["tg"], b["tg"]), meanwhile)


@contextmanager
def _ended(seconds: float | None, late: threading.Event, *sides: _Side) -> Iterator[None]:
    """Ends the sides after so long, and says so by `late`."""

    def end() -> None:
        late.set()
        for side in sides:
            side.end()

    timer = threading.Timer(seconds or 0, end)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def comparisons(job: Job, pairs: Sequence[Pair], repetitions: int = FEWEST_PAIRS) -> list[Comparison]:
    """The rows of the result: pp and tg, as far as they were requested. repetitions: quiet pairs requested."""
    depth = f" @ d{job.n_depth}" if job.n_depth else ""
    others = [pair.others for pair in pairs]
    needed = min(FEWEST_PAIRS, repetitions)
    columns = {f"pp{job.n_prompt}": [pair.pp for pair in pairs], f"tg{job.n_gen}": [pair.tg for pair in pairs]}
    return [
        Comparison(test + depth, [a for a, _ in column], [b for _, b in column], others, needed)
        for test, column in columns.items()
        if test[2:] != "0"
    ]


def markdown(rows: Sequence[Comparison], model: str, n_threads: int, peer: str) -> Iterator[str]:
    """A table for people; a dash where no ratio can be told."""
    yield f"| model | threads | test | localllm t/s | {peer} t/s | ratio (median of {rows[0].n_quiet} pairs) |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        f = row.fields()
        medians = ((f["median_ours"], ".1f"), (f["median_theirs"], ".1f"), (f["median_ratio"], ".2f"))
        cells = ("–" if number is None else format(number, form) for number, form in medians)
        yield f"| {model} | {n_threads} | {row.test} | {' | '.join(cells)} |"


def doubts(rows: Sequence[Comparison]) -> str:
    """A sentence where pairs were not counted, or where so few were quiet that there is no ratio; otherwise ""."""
    row = rows[0]
    busy = len(row.others) - row.n_quiet
    if not busy:
        return ""
    most = max(row.others)
    why = f"other programs used more than {OTHERS:.0%} of the cores ({most:.0%} at most)"
    if not row.has_ratio:
        return f"No ratio: during {busy} of {len(row.others)} pairs {why}. Close them and run it again."
    return f"{busy} of {len(row.others)} pairs are not counted: {why} meanwhile."


def describe(job: Job, peer: str) -> dict[str, Any]:
    """The circumstances, for the JSON form."""
    other = peers.PEERS[peer]
    job_fields = asdict(job) | {"model": os.path.basename(job.model)}
    return {"cpu_info": processor_name(), "peer": f"{other.package} {other.version}", **job_fields}


class _Side:
    """A process that measures on request."""

    def __init__(self, name: str, job: Job) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", peers.__name__, name, json.dumps(asdict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Peers write pages of their own.
            stderr=None if name == peers.OURS else subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        """At once."""
        self._process.kill()

    def warm_up(self) -> None:
        """Wait until it is loaded and has measured once."""
        self._answer()

    def measure(self, seed: int) -> dict[str, float]:
        """Tokens a second: {"pp": ..., "tg": ...}."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # that it ended is said below
            self._process.stdin.write(f"{seed}\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        """The next line of JSON; llama.cpp may print others."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith('{"pp"'):
                answer: dict[str, float] = json.loads(line)
                return answer
        raise LocalllmError(f"bench: the process of {self.name} ended early (status {self._process.wait()})")

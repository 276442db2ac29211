"""localllm beside llama.cpp: the same model, tokens, threads and lengths, in alternating runs of two processes.

The peer is the xllamacpp wheel (extra `peer`). Each side runs in a process of its own that stays loaded and sleeps
while the other works, is warmed up once, reuses no cache but that of the depth requested, and is timed by its own
clock: llama.cpp by the `timings` it returns. Speeds are compared pair by pair, since a machine's speed drifts. A pair
during which other programs, or the host of a virtual machine, used more than a tenth of the cores is shown and not
counted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import compress
from statistics import median
from typing import Any

from localllm.errors import LocalllmError, UsageError
from localllm.runtime.processors import processor_name
from localllm.tools import disturbance
from localllm.tools.disturbance import Disturbance

PEERS = {"llamacpp": "xllamacpp"}
"""Name on the command line -> package it needs."""
FEWEST_PAIRS = 3
"""Without which a ratio says nothing."""
OTHERS = 0.1
"""Share of all cores that others may use while a pair is measured."""
_SEED = 1


@dataclass(frozen=True)
class Job:
    """What both sides do: `n_depth` tokens first, uncounted, then n_prompt and n_gen counted ones."""

    model: str
    n_threads: int
    n_prompt: int
    n_gen: int
    n_depth: int
    n_threads_batch: int = 0
    """For prompts; 0: as many as for generation."""

    @property
    def n_ctx(self) -> int:
        return -(-(self.n_depth + self.n_prompt + self.n_gen + 8) // 256) * 256


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
    if peer not in PEERS:
        raise UsageError(f"--against {peer}: unknown; there is {', '.join(PEERS)}")
    if find_spec(PEERS[peer]) is None:
        raise UsageError(f"--against {peer}: the package {PEERS[peer]} is not here: pip install 'localllm[peer]'")
    pairs: list[Pair] = []
    late = threading.Event()
    try:
        with _Side("localllm", job) as ours, _Side(peer, job) as theirs, _ended(seconds, late, ours, theirs):
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
    from importlib.metadata import version

    job_fields = asdict(job) | {"model": os.path.basename(job.model)}
    return {"cpu_info": processor_name(), "peer": f"{PEERS[peer]} {version(PEERS[peer])}", **job_fields}


class _Side:
    """A process that measures on request."""

    def __init__(self, name: str, job: Job) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, name, json.dumps(asdict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # llama.cpp writes pages of its own.
            stderr=None if name == "localllm" else subprocess.DEVNULL,
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


# --- the child processes


def _tokens(job: Job, n_vocab: int, seed: int) -> tuple[list[int], list[int]]:
    """Depth and prompt; the same on both sides."""
    import random

    chance = random.Random(seed)
    depth = random.Random(_SEED)
    # Ids above a few thousand: special tokens stand at the ends of most vocabularies.
    low, high = min(1000, n_vocab // 4), n_vocab - n_vocab // 16
    return (
        [depth.randrange(low, high) for _ in range(job.n_depth)],
        [chance.randrange(low, high) for _ in range(job.n_prompt)],
    )


def _ours(job: Job) -> Callable[[int], dict[str, float]]:
    from localllm.generate.session import Model

    model = Model.load(job.model, n_threads=job.n_threads, n_threads_batch=job.n_threads_batch or None)
    context = model.context(n_ctx=job.n_ctx)

    def feed(ids: Sequence[int]) -> int:
        for start in range(0, len(ids), context.n_batch):
            logits = context.forward(ids[start : start + context.n_batch])
        return int(logits[-1].argmax())

    def measure(seed: int) -> dict[str, float]:
        depth, prompt = _tokens(job, model.config.n_vocab, seed)
        if context.n_past() < job.n_depth:
            feed(depth)
        context.cut(0, job.n_depth)
        start = time.perf_counter()
        token = feed(prompt or depth[-1:])
        middle = time.perf_counter()
        for _ in range(job.n_gen):
            token = int(context.forward([token])[-1].argmax())
        end = time.perf_counter()
        return {"pp": job.n_prompt / (middle - start), "tg": job.n_gen / (end - middle) if job.n_gen else 0.0}

    return measure


def _llamacpp(job: Job) -> Callable[[int], dict[str, float]]:
    import xllamacpp

    from localllm.gguf.reader import open_gguf

    with open_gguf(job.model) as file:
        n_vocab, first = file.tensors["token_embd.weight"].shape[1], file.path
    params = xllamacpp.CommonParams()
    params.model.path = first
    params.n_ctx, params.n_parallel, params.warmup = job.n_ctx, 1, True
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = job.n_threads, job.n_threads_batch or job.n_threads
    server = xllamacpp.Server(params)

    def complete(ids: list[int], n_predict: int) -> dict[str, float]:
        request = {
            "prompt": ids,
            "n_predict": n_predict,
            "cache_prompt": job.n_depth > 0,
            "temperature": 0.0,
            "ignore_eos": True,
        }
        answer = server.handle_completions(request)
        timings: dict[str, float] = (json.loads(answer) if isinstance(answer, str) else answer)["timings"]
        return timings

    def measure(seed: int) -> dict[str, float]:
        depth, prompt = _tokens(job, n_vocab, seed)
        if depth:
            complete(depth, 1)
        # llama.cpp draws the first token from the prompt's logits: n_gen steps take one more.
        t = complete(depth + prompt, job.n_gen + 1)
        if abs(t["prompt_n"] - job.n_prompt) > 1:
            raise LocalllmError(f"bench: the peer evaluated {t['prompt_n']} tokens of prompt, not {job.n_prompt}")
        return {"pp": t["prompt_per_second"], "tg": t["predicted_per_second"] if job.n_gen else 0.0}

    return measure


_SIDES: dict[str, Callable[[Job], Callable[[int], dict[str, float]]]] = {"localllm": _ours, "llamacpp": _llamacpp}


def main() -> None:
    """Child process: warm up, then measure once for each seed that comes in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    job = Job(**json.loads(sys.argv[2]))
    measure = _SIDES[sys.argv[1]](job)
    measure(_SEED)
    print(json.dumps({"pp": 0.0, "tg": 0.0}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(int(line))), flush=True)


if __name__ == "__main__":
    main()

"""localllm beside llama.cpp: the same model, tokens, threads and lengths, in alternating runs of two processes.

The peer is the xllamacpp wheel (extra `peer`). Each side runs in a process of its own that stays loaded and sleeps
while the other works, is warmed up once, reuses no cache but that of the depth requested, and is timed by its own
clock: llama.cpp by the `timings` it returns. Speeds are compared pair by pair, since a machine's speed drifts.
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
from statistics import median
from typing import Any

from localllm.errors import LocalllmError, UsageError
from localllm.runtime.processors import processor_name

PEERS = {"llamacpp": "xllamacpp"}
"""Name on the command line -> package it needs."""
FEWEST_PAIRS = 3
"""Without which a ratio says nothing."""
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
class Comparison:
    """Tokens a second of one test, ours and theirs, pair by pair."""

    test: str
    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    def fields(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "ratios": self.ratios,
            "median_ours": median(self.ours),
            "median_theirs": median(self.theirs),
            "median_ratio": median(self.ratios),
        }


def compare(
    job: Job, peer: str, repetitions: int, progress: Callable[[int], None], seconds: float | None = None
) -> dict[str, list[tuple[float, float]]]:
    """{"pp"|"tg": [(ours, theirs), ...]}, tokens a second; progress(pairs done) is called after each pair.

    seconds: after which both sides are ended; the pairs so far are given, if there are FEWEST_PAIRS.
    Raises UsageError for an unknown peer, LocalllmError where a side fails.
    """
    if peer not in PEERS:
        raise UsageError(f"--against {peer}: unknown; there is {', '.join(PEERS)}")
    if find_spec(PEERS[peer]) is None:
        raise UsageError(f"--against {peer}: the package {PEERS[peer]} is not here: pip install 'localllm[peer]'")
    speeds: dict[str, list[tuple[float, float]]] = {"pp": [], "tg": []}
    late = threading.Event()
    try:
        with _Side("localllm", job) as ours, _Side(peer, job) as theirs, _ended(seconds, late, ours, theirs):
            for side in (ours, theirs):
                side.warm_up()
            for i in range(repetitions):
                # Who goes first alternates too.
                order = (ours, theirs) if i % 2 == 0 else (theirs, ours)
                got = {side.name: side.measure(_SEED + 1 + i) for side in order}
                for test in speeds:
                    speeds[test].append((got["localllm"][test], got[peer][test]))
                progress(i + 1)
    except LocalllmError:
        if not late.is_set():
            raise
        if len(speeds["pp"]) < FEWEST_PAIRS:
            raise LocalllmError(f"{FEWEST_PAIRS} pairs of runs took more than {seconds:.0f} s") from None
    return speeds


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


def comparisons(job: Job, speeds: dict[str, list[tuple[float, float]]]) -> list[Comparison]:
    """The rows of the result: pp and tg, as far as they were requested."""
    depth = f" @ d{job.n_depth}" if job.n_depth else ""
    counts = {"pp": job.n_prompt, "tg": job.n_gen}
    return [
        Comparison(f"{test}{n}{depth}", [a for a, _ in speeds[test]], [b for _, b in speeds[test]])
        for test, n in counts.items()
        if n
    ]


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

"""Tokens a second over the number of threads, over batches, and over the depth of the context."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from localllm.runtime.tuned import Threads
from localllm.tools import bench

if TYPE_CHECKING:
    from localllm.generate.session import Model

BATCHES = (8, 32, 128, 512)
DEPTHS = (0, 512, 1024, 2048)
AT_ONCE = (1, 2, 4, 8)
_SEED = 1


@dataclass(frozen=True)
class Curve:
    """One picture: of prompts or of generation."""

    of: str
    """"prompt" or "generation"."""
    over: str
    """The axis, for people."""
    samples: dict[int, list[float]]
    """Where on the axis -> tokens a second of each run."""

    @property
    def medians(self) -> dict[int, float]:
        return {x: median(values) for x, values in self.samples.items()}

    def fields(self) -> dict[str, Any]:
        return {"of": self.of, "over": self.over, "samples_ts": {str(x): v for x, v in self.samples.items()}}


@dataclass(frozen=True)
class Wish:
    """Where to measure, and how much."""

    threads: Sequence[int]
    batches: Sequence[int] = BATCHES
    depths: Sequence[int] = DEPTHS
    at_once: Sequence[int] = AT_ONCE
    n_prompt: int = 512
    n_gen: int = 32
    runs: int = 3


def curves(model: Model, wish: Wish, say: Callable[[str], None] = lambda text: None) -> list[Curve]:
    """Two curves an axis, prompts first. The model's numbers of threads are as before afterwards.

    Depths that the model was not made for are left out.
    """
    most = model.config.n_ctx_train - max(wish.n_prompt, wish.n_gen)
    depths = [depth for depth in wish.depths if depth <= max(0, most)]
    say("Measuring over threads ...")
    out = [
        Curve("prompt", "threads", _over_threads(model, wish, bench.Test(wish.n_prompt, 0, 0, 512, None))),
        Curve("generation", "threads", _over_threads(model, wish, bench.Test(0, wish.n_gen, 0, 512, None))),
    ]
    say("Measuring over batches ...")
    chunks = [n for n in wish.batches if n <= max(wish.n_prompt, min(wish.batches))]
    tests = {n: bench.Test(wish.n_prompt, 0, 0, n, None) for n in chunks}
    out.append(Curve("prompt", "tokens a batch", _each(model, tests, wish.runs)))
    out.append(Curve("generation", "answers at once", _at_once(model, wish)))
    say("Measuring over depth ...")
    tests = {depth: bench.Test(wish.n_prompt, 0, depth, 512, None) for depth in depths}
    out.append(Curve("prompt", "tokens in the context", _each(model, tests, wish.runs)))
    tests = {depth: bench.Test(0, wish.n_gen, depth, 512, None) for depth in depths}
    out.append(Curve("generation", "tokens in the context", _each(model, tests, wish.runs)))
    return out


def _over_threads(model: Model, wish: Wish, test: bench.Test) -> dict[int, list[float]]:
    """In rounds of random order: a machine's speed drifts."""
    before, chance = model.team.threads, random.Random(_SEED)
    samples: dict[int, list[float]] = {n: [] for n in sorted(wish.threads)}
    try:
        for _ in range(wish.runs):
            for n in chance.sample(list(samples), len(samples)):
                model.team.threads = Threads(n, n)
                samples[n] += bench.measure(model, test, 1, not samples[n]).samples_ts
    finally:
        model.team.threads = before
    return samples


def _each(model: Model, tests: dict[int, bench.Test], runs: int) -> dict[int, list[float]]:
    return {x: bench.measure(model, test, runs).samples_ts for x, test in tests.items()}


def _at_once(model: Model, wish: Wish) -> dict[int, list[float]]:
    """Tokens a second of all answers together that are generated in the same passes."""
    samples: dict[int, list[float]] = {}
    for n in wish.at_once:
        context = model.context(n_ctx=wish.n_gen + 1, n_seq=n)
        try:
            samples[n] = []
            for run in range(wish.runs + 1):
                context.clear()
                begun = time.perf_counter()
                for token in range(1, wish.n_gen + 1):
                    ids = [(token + i) % model.config.n_vocab for i in range(n)]
                    context.forward(ids, seq_ids=list(range(n)), want_logits=[True] * n)
                if run:  # the first one warms up
                    samples[n].append(n * wish.n_gen / (time.perf_counter() - begun))
        finally:
            context.close()
    return samples

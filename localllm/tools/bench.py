"""Timing of prompt processing and text generation, by the rules of llama-bench, so that numbers can be compared.

As in llama.cpp's tools/llama-bench: random token ids, neither tokenization nor sampling is timed, a warm-up run before
each test, an empty context (or one filled to a depth) before each repetition, mean and sample standard deviation.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from localllm.runtime.processors import processor_name

if TYPE_CHECKING:
    from localllm.generate.loop import Engine
    from localllm.generate.session import Model

FEWEST = 3
"""Runs of a test that are made however long they take."""
_SEED = 1


@dataclass(frozen=True)
class Test:
    """One row: `n_prompt` tokens of prompt processing, or `n_gen` of generation, after `n_depth` tokens of context."""

    __test__ = False  # no test of pytest's

    n_prompt: int
    n_gen: int
    n_depth: int
    n_batch: int
    n_threads: int | None

    @property
    def name(self) -> str:
        """llama-bench's name: pp512, tg128, pp512 @ d4096."""
        what = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return f"{what} @ d{self.n_depth}" if self.n_depth else what


@dataclass(frozen=True)
class Result:
    """What a test measured."""

    test: Test
    model: dict[str, Any]
    """model_filename, model_type, model_size (bytes), model_n_params, n_threads, type_k, type_v, backends."""
    test_time: str
    samples_ns: list[int]
    build: str = ""
    """What was measured: where llama-bench puts its commit."""

    @property
    def samples_ts(self) -> list[float]:
        """Tokens a second of each repetition."""
        n = self.test.n_prompt + self.test.n_gen
        return [1e9 * n / ns for ns in self.samples_ns]

    def fields(self) -> dict[str, Any]:
        """The row under llama-bench's keys, in its order, without the samples."""
        model, test = self.model, self.test
        return {
            "build_commit": self.build,
            "cpu_info": processor_name(),
            "backends": model["backends"],
            **{key: model[key] for key in ("model_filename", "model_type", "model_size", "model_n_params")},
            "n_batch": test.n_batch,
            "n_ubatch": test.n_batch,
            **{key: model[key] for key in ("n_threads", "type_k", "type_v")},
            "n_prompt": test.n_prompt,
            "n_gen": test.n_gen,
            "n_depth": test.n_depth,
            "test_time": self.test_time,
            "avg_ns": int(mean(self.samples_ns)),
            "stddev_ns": int(stdev(self.samples_ns)),
            "avg_ts": mean(self.samples_ts),
            "stddev_ts": stdev(self.samples_ts),
        }


def combinations(
    n_prompts: Sequence[int],
    n_gens: Sequence[int],
    n_depths: Sequence[int] = (0,),
    n_batches: Sequence[int] = (512,),
    n_threads: Sequence[int | None] = (None,),
) -> list[Test]:
    """All combinations, in llama-bench's order: threads change last, since they need the model loaded again."""
    return [
        Test(n_prompt, n_gen, n_depth, n_batch, threads)
        for threads in n_threads
        for n_batch in n_batches
        for n_depth in n_depths
        for n_prompt, n_gen in [*((n, 0) for n in n_prompts), *((0, n) for n in n_gens)]
        if n_prompt or n_gen
    ]


def run(
    load: Callable[[int | None], Model],
    rows: Sequence[Test],
    repetitions: int = 5,
    warmup: bool = True,
    kv_type: str = "f16",
    build: str = "",
) -> Iterator[Result]:
    """Run the tests one after another, each result as soon as it is known.

    load(n_threads): the model; called again, and the one before closed, only where n_threads changes.
    """
    model: Model | None = None
    threads: int | None = None
    try:
        for test in rows:
            if model is None or test.n_threads != threads:
                if model is not None:
                    model.close()
                model, threads = load(test.n_threads), test.n_threads
            yield measure(model, test, repetitions, warmup, kv_type, build)
    finally:
        if model is not None:
            model.close()


def measure(
    model: Model,
    test: Test,
    repetitions: int,
    warmup: bool = True,
    kv_type: str = "f16",
    build: str = "",
    seconds: float = math.inf,
) -> Result:
    """Run one test in a context of its own. seconds: once its runs took so long, no more than FEWEST are made."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    chance = random.Random(_SEED)
    context = model.context(n_ctx=test.n_prompt + test.n_gen + test.n_depth, n_batch=test.n_batch)
    try:
        if warmup:
            _prompt(context, _ids(model, test.n_prompt, chance))
            _generate(context, _ids(model, min(test.n_gen, 1), chance))
        context.clear()
        samples = []
        for _ in range(repetitions):
            _to_depth(context, model, test.n_depth, chance)
            prompt, answer = _ids(model, test.n_prompt, chance), _ids(model, test.n_gen, chance)
            start = time.perf_counter_ns()
            _prompt(context, prompt)
            _generate(context, answer)
            samples.append(time.perf_counter_ns() - start)
            if len(samples) >= FEWEST and sum(samples) > seconds * 1e9:
                break
    finally:
        context.close()
    return Result(test, _describe(model, test, kv_type), now, samples, build)


def _ids(model: Model, n: int, chance: random.Random) -> list[int]:
    return [chance.randrange(model.config.n_vocab) for _ in range(n)]


def _prompt(context: Engine, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), context.n_batch):
        context.forward(ids[start : start + context.n_batch])


def _generate(context: Engine, ids: Sequence[int]) -> None:
    for token in ids:
        context.forward([token])


def _to_depth(context: Engine, model: Model, n_depth: int, chance: random.Random) -> None:
    """Leave exactly n_depth tokens in the context; what is there already is used where states can be cut there."""
    if n_depth and context.n_past(0) > n_depth and context.cut(0, n_depth) == n_depth:
        return
    context.clear()
    _prompt(context, _ids(model, n_depth, chance))
    context.checkpoint(0)


def _describe(model: Model, test: Test, kv_type: str) -> dict[str, Any]:
    return {
        "backends": model.target,
        "model_filename": model.path,
        "model_type": model.description,
        "model_size": model.n_bytes,
        "model_n_params": model.n_params,
        "n_threads": model.n_threads_batch if test.n_prompt else model.n_threads,
        "type_k": kv_type,
        "type_v": kv_type,
    }


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def stdev(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    middle = mean(values)
    return math.sqrt(sum((v - middle) ** 2 for v in values) / (len(values) - 1))

"""Prompt processing and generation beside what this machine can do at most.

Generating a token reads all weights, and the cells of the cache that attention reads: its limit is what a plain loop
reads a second. A prompt is products: its limit is the dot instruction, fed from the first-level cache. Both limits are
measured with as many threads as the model has (kernels/limits.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localllm.tools import bench
from localllm.tools.profile import cells_work, weights_work

if TYPE_CHECKING:
    from localllm.generate.session import Model

_MEGABYTES = 256


@dataclass(frozen=True)
class Limited(bench.Result):
    """A result with the limit that it runs against."""

    unit: str = ""
    """gb_s for generation, gmac_s for a prompt."""
    speed: float = 0.0
    limit: float = 0.0

    def fields(self) -> dict[str, Any]:
        share = self.speed / self.limit
        return {**super().fields(), "limited_by": self.unit, "speed": self.speed, "limit": self.limit, "share": share}


def run(
    load: Callable[[int | None], Model],
    rows: Sequence[bench.Test],
    repetitions: int = 5,
    warmup: bool = True,
    kv_type: str = "f16",
    build: str = "",
) -> Iterator[Limited]:
    """As `bench.run`, the limits of each number of threads measured before its first result."""
    loaded: list[Model] = []
    limits: dict[int, dict[str, float]] = {}

    def remember(n_threads: int | None) -> Model:
        loaded[:] = [load(n_threads)]
        return loaded[0]

    for result in bench.run(remember, rows, repetitions, warmup, kv_type, build):
        n_threads = int(result.model["n_threads"])
        if n_threads not in limits:
            limits[n_threads] = measured(n_threads)
        yield beside(result, work(loaded[0], result.test), limits)


def beside(result: bench.Result, work: tuple[int, int], limits: dict[int, dict[str, float]]) -> Limited:
    """A result with its limit: of generation bytes, of a prompt products. work: see `work`; limits: number of threads
    -> what `measured` says."""
    prompt = bool(result.test.n_prompt)
    unit = "gmac_s" if prompt else "gb_s"
    speed = work[prompt] / bench.mean(result.samples_ns)
    limit = limits[int(result.model["n_threads"])][unit]
    return Limited(**vars(result), unit=unit, speed=speed, limit=limit)


def measured(n_threads: int) -> dict[str, float]:
    """What plain loops reach: gigabytes read, and thousand millions of products, a second."""
    from localllm.tools.formats import Bench

    loops = Bench(n_threads, _MEGABYTES)
    try:
        top = loops.limits()
    finally:
        loops.close()
    return {"gb_s": top.decode_gb_s, "gmac_s": top.prompt_gmac_s}


def work(model: Model, test: bench.Test) -> tuple[int, int]:
    """Bytes that a test's tokens read when they come one by one, and the products of all its tokens; logits are
    computed for each generated token, and for the last one of each batch of a prompt."""
    n_tokens = test.n_prompt or test.n_gen
    n_heads = -(-test.n_prompt // test.n_batch) or test.n_gen
    context = model.context(n_ctx=test.n_depth + n_tokens)
    try:
        body, head = (context.record(part, 1).operations for part in ("body", "head"))
    finally:
        context.close()
    cells = [cells_work(operation, 1, test.n_depth + i) for operation in body for i in range(n_tokens)]
    each, last = ([sum(weights_work(o)[i] for o in part) for i in (0, 1)] for part in (body, head))
    n_bytes, n_macs = (n_tokens * each[i] + n_heads * last[i] + sum(cell[i] for cell in cells) for i in (0, 1))
    return n_bytes, n_macs

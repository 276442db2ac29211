"""Which variant of a product is the fastest on this processor: a race in alternating runs, over random weights.

For each format that a model has, once: when its kernels are first compiled, within SECONDS, or by `localllm tune`.
What is found is kept beside the object code (kernels/variants.py). While other programs use the processor nothing is
found: the default is kept.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from localllm.kernels import objects, variants
from localllm.kernels.formats.table import FORMATS
from localllm.kernels.objects import Key
from localllm.kernels.variants import Choice
from localllm.runtime.plan import Bound
from localllm.tools import disturbance, tune
from localllm.tools.formats import MATMUL_MACS, Bench

Pair = tuple[str, str]
"""A product, and the module of a format."""
Say = Callable[[str, int, int], None]
SECONDS = 20.0
"""What a first start takes longer, at most."""
_MEGABYTES = 64
"""Of weights that decoding reads: no cache holds them."""
_SAMPLE_SECONDS = 0.015
_SEED = 1


def race(
    wanted: Sequence[Pair], n_threads: int, say: Say = lambda text, done, most: None, seconds: float | None = None
) -> dict[Pair, Choice]:
    """What was found, and kept, pair by pair. seconds: none is begun that would, by what one took so far, end later;
    the others keep the default, so that no further start asks for it.

    say(text, done, of at most): how far it is. Raises FileError where the choices cannot be kept.
    """
    found: dict[Pair, Choice] = {}
    text = "Measuring variants of kernels" + (" (once)" if seconds is not None else "")
    begun, longest = time.monotonic(), 0.0
    bench = Bench(n_threads, _MEGABYTES)
    try:
        for done, pair in enumerate(wanted):
            at = time.monotonic()
            if seconds is not None and at - begun + longest > seconds:
                variants.keep({pair: Choice(variants.of_format(*pair)[0]) for pair in wanted[done:]})
                break
            say(text, done, len(wanted))
            found[pair] = _race(bench, *pair)
            variants.keep({pair: found[pair]})
            longest = max(longest, time.monotonic() - at)
        say(text, len(wanted), len(wanted))
    finally:
        bench.close()
    return found


def _race(bench: Bench, product: str, fmt: str) -> Choice:
    """All variants of one product with weights of one format."""
    format_ = next(f for f in FORMATS.values() if f.module == fmt)
    there, (kernel, *_) = variants.of_format(product, fmt), variants.products()[product].kernels
    keys = [variants.with_variant(Key(*kernel, (fmt,)), variant) for variant in there]
    addresses = objects.load(keys)
    bench.fill(format_)
    plan, work = (bench.matmul, MATMUL_MACS) if product == "matmul" else (bench.matvec, _MEGABYTES << 20)
    bound = [plan(format_, key).bind(0, lambda _: addresses) for key in keys]
    for one in bound:  # caches and threads are warm then
        bench.run(one)
    runs = max(1, int(_SAMPLE_SECONDS / _seconds(bench, bound[0], 1)))
    before = disturbance.read()
    outcome = tune.race(range(len(keys)), lambda i: work / _seconds(bench, bound[i], runs) / 1e9, random.Random(_SEED))
    is_busy = disturbance.between(before, disturbance.read()).is_busy
    speeds = {str(there[i]): speed for i, speed in outcome.medians.items()}
    return Choice(there[0 if is_busy else outcome.chosen], speeds)


def _seconds(bench: Bench, bound: Bound, runs: int) -> float:
    """Of a run, the mean of several."""
    begun = time.perf_counter()
    for _ in range(runs):
        bench.run(bound)
    return (time.perf_counter() - begun) / runs

"""Which number of threads is the fastest for prompts, and which for generation: a race in alternating runs.

More threads are not always faster: two on one core share its units, slow cores make fast ones wait, generation waits
for memory, and a quota stops all threads at once. And what runs beside it differs from moment to moment. So each round
measures every candidate once, in random order; who is clearly slower leaves the race; the medians decide, and where
several are as good as equal, the fewest threads.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from localllm.runtime.processors import Processors
from localllm.runtime.tuned import Threads

if TYPE_CHECKING:
    from localllm.generate.session import Model

FEWEST_ROUNDS, MOST_ROUNDS = 3, 9
_HOPELESS = 0.7
"""Who never reached this share of the leader's median is out after two rounds."""
_SLOWER = 0.95
"""Whose median is below this share of the leader's, and who never reached that, is out once FEWEST_ROUNDS are over."""
_EQUAL = 0.97
"""Medians from this share of the leader's on are as good as his."""
_SAMPLE_SECONDS = 0.3
"""What one measurement of generation should take."""
_PROMPTS = (512, 128)
"""Tokens of a prompt: the second for models that take seconds for the first."""
_SEED = 1


@dataclass(frozen=True)
class Outcome:
    """A race: tokens a second of every candidate, in the order of measurement, and who won."""

    samples: dict[int, list[float]]
    chosen: int

    @property
    def medians(self) -> dict[int, float]:
        return {n: median(values) for n, values in self.samples.items()}

    def fields(self) -> dict[str, Any]:
        return {"n_threads": self.chosen, "samples_ts": {str(n): values for n, values in self.samples.items()}}


def candidates(p: Processors) -> list[int]:
    """Numbers of threads worth trying: few, powers of two and what lies between them, and those that a machine is made
    of: fast cores, all cores, all threads, the quota; and one less than its cores, which leaves one to others."""
    most = p.most
    known = {1, 2, 3, p.default, p.default - 1, p.fast, p.physical, p.logical, most}
    steps = {n << i for n in (2, 3) for i in range(most.bit_length())}
    return sorted(n for n in known | steps if 1 <= n <= most)


def race(
    numbers: Sequence[int],
    measure: Callable[[int], float],
    chance: random.Random,
    say: Callable[[int, int], None] = lambda done, most: None,
) -> Outcome:
    """measure(number of threads): tokens a second. say(rounds done, of at most): after each round; at its end it says
    that all are."""
    samples: dict[int, list[float]] = {n: [] for n in numbers}
    left = list(numbers)
    for number in range(MOST_ROUNDS):
        for n in chance.sample(left, len(left)):
            samples[n].append(measure(n))
        leader = max(median(samples[n]) for n in left)
        if number == 1:
            left = [n for n in left if max(samples[n]) >= _HOPELESS * leader]
        if number + 1 >= FEWEST_ROUNDS:
            left = [n for n in left if max(samples[n]) >= leader or median(samples[n]) >= _SLOWER * leader]
            if len(left) == 1:
                break
        if number + 1 < MOST_ROUNDS:
            say(number + 1, MOST_ROUNDS)
    say(MOST_ROUNDS, MOST_ROUNDS)
    leader = max(median(samples[n]) for n in left)
    return Outcome(samples, min(n for n in left if median(samples[n]) >= _EQUAL * leader))


@dataclass(frozen=True)
class Tuned:
    """Both races."""

    prompt: Outcome
    decode: Outcome

    @property
    def threads(self) -> Threads:
        return Threads(self.decode.chosen, self.prompt.chosen)

    def fields(self) -> dict[str, Any]:
        return {"prompt": self.prompt.fields(), "decode": self.decode.fields()}


def tune(
    model: Model, numbers: Sequence[int], say: Callable[[str, int, int], None] = lambda text, done, most: None
) -> Tuned:
    """Race the numbers on a model, whose own are as before afterwards. say(text, done, of at most): how far it is."""
    before = model.team.threads
    speeds = _Speeds(model)
    chance = random.Random(_SEED)

    try:
        speeds.choose_lengths(before)
        return Tuned(
            race(numbers, speeds.prompt, chance, partial(say, "Measuring prompts, rounds")),
            race(numbers, speeds.decode, chance, partial(say, "Measuring generation, rounds")),
        )
    finally:
        speeds.close()
        model.team.threads = before


class _Speeds:
    """One context in which all is measured."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._context = model.context(n_ctx=_PROMPTS[0] + 64)
        self._ids = [(7 * i) % model.config.n_vocab for i in range(_PROMPTS[0])]
        self._n_prompt, self._n_gen = _PROMPTS[0], 1

    def choose_lengths(self, threads: Threads) -> None:
        """So that a measurement takes neither long nor too short a time; all is run once, too."""
        if self.prompt(threads.prompt) < _PROMPTS[0]:  # more than a second
            self._n_prompt = _PROMPTS[1]
        self._n_gen = max(2, min(64, int(_SAMPLE_SECONDS * self.decode(threads.decode))))

    def prompt(self, n_threads: int) -> float:
        self._use(n_threads)
        begun = time.perf_counter()
        for start in range(0, self._n_prompt, self._context.n_batch):
            self._context.forward(self._ids[start : min(start + self._context.n_batch, self._n_prompt)])
        return self._n_prompt / (time.perf_counter() - begun)

    def decode(self, n_threads: int) -> float:
        self._use(n_threads)
        begun = time.perf_counter()
        for token in self._ids[: self._n_gen]:
            self._context.forward([token])
        return self._n_gen / (time.perf_counter() - begun)

    def _use(self, n_threads: int) -> None:
        """An empty context, and threads that are awake."""
        self._model.team.threads = Threads(n_threads, n_threads)
        self._context.clear()
        self._context.forward(self._ids[:1])
        self._context.clear()

    def close(self) -> None:
        self._context.close()

"""What guessing brings: answers with and without it, in alternating runs, over texts where it helps and one where it
does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from localllm.errors import LocalllmError
from localllm.generate.answer import begin_answer
from localllm.generate.dialogue.prepare import chat_ids
from localllm.generate.loop import Tape
from localllm.generate.params import Sampling
from localllm.generate.sampling import sampler_of
from localllm.generate.speculation import ngrams
from localllm.generate.speculation.options import Guessing

if TYPE_CHECKING:
    from localllm.generate.answer import Answer
    from localllm.generate.session import Model
    from localllm.model.context import Context

_QUOTED = (
    "The harbour office keeps its books by hand. Every ship that enters before noon pays four crowns, every ship that "
    "enters after noon pays six, and a ship that stays for more than three days pays two crowns more for each day. "
    "Fishing boats of the town pay nothing, but they must leave the eastern quay free from May to September."
)


def _tasks() -> dict[str, str]:
    code = inspect.getsource(ngrams.NGrams)
    return {
        "edit code": f"Rename the class NGrams to Lookup in this file, and write the whole file:\n```python\n{code}```",
        "quote": f"{_QUOTED}\n\nWrite this text out word by word, then say who pays nothing.",
        "tell": "Tell a story about a lighthouse, a dog and a storm.",
    }


@dataclass
class Gain:
    """One task's runs. Rates are tokens a second of the answer."""

    task: str
    sampled: bool
    plain: list[float] = field(default_factory=list)
    guessing: list[float] = field(default_factory=list)
    guessed: int = 0
    right: int = 0
    """Of one run with guesses: they are all alike in what they say, and nearly in what they guess."""

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return median(b / a for a, b in zip(self.plain, self.guessing, strict=True))

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": self.task, "sampled": self.sampled, "plain_ts": self.plain, "guessing_ts": self.guessing,
            "median_ratio": self.ratio, "guessed": self.guessed, "right": self.right,
        }  # fmt: skip


def measure(
    model: Model, guessing: Guessing, n_gen: int, runs: int, say: Callable[[str], None] = lambda text: None
) -> list[Gain]:
    """Each task greedy and sampled, in `runs` alternating pairs, after one that does not count. Raises LocalllmError
    where an answer with guesses is another one: a bug."""
    gains = []
    for task, text in _tasks().items():
        ids = chat_ids(model, [{"role": "user", "content": text}])
        for sampling in (Sampling(temperature=0.0), Sampling(seed=1)):
            say(f"Measuring: {task}, {'sampled' if sampling.temperature else 'greedy'} ...")
            gains.append(_gain(model, guessing, ids, sampling, n_gen, runs, task))
    return gains


def _gain(
    model: Model, guessing: Guessing, ids: Sequence[int], sampling: Sampling, n_gen: int, runs: int, task: str
) -> Gain:
    gain = Gain(task, sampling.temperature > 0.0)
    context = model.context(n_ctx=len(ids) + n_gen + 16)
    try:
        for run in range(runs + 1):
            plain = _answer(model, context, None, ids, sampling, n_gen)
            guessed = _answer(model, context, guessing, ids, sampling, n_gen)
            if plain.ids != guessed.ids:
                raise LocalllmError(f"{task}: the answer with guesses is another one: a bug in localllm, please report")
            if run:
                gain.plain.append(plain.stats.answer_rate)
                gain.guessing.append(guessed.stats.answer_rate)
            gain.guessed, gain.right = guessed.stats.guessed, guessed.stats.guessed_right
    finally:
        context.close()
    return gain


def _answer(
    model: Model, context: Context, guessing: Guessing | None, ids: Sequence[int], sampling: Sampling, n_gen: int
) -> Answer:
    """A whole answer of n_gen tokens, in a context that is cleared for it."""
    context.clear()
    speculation = guessing.of(model, context) if guessing else None
    tape = Tape(context, None, speculation)
    answer = begin_answer(
        model, tape, ids, sampler_of(model, sampling), n_gen, (), lambda _: None, ignore_eog=True
    )  # fmt: skip
    for _ in answer:
        pass
    if speculation:
        speculation.close()
    return answer


def markdown(gains: Sequence[Gain]) -> Iterator[str]:
    """A table for people."""
    yield "| task | tokens | t/s | with guesses | ratio (median of pairs) | guesses right |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for g in gains:
        rates = f"{median(g.plain):.1f} | {median(g.guessing):.1f} | {g.ratio:.2f}"
        yield f"| {g.task} | {'sampled' if g.sampled else 'greedy'} | {rates} | {g.right} of {g.guessed} |"

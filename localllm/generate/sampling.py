"""From logits to a token: the whole chain of samplers, in llama.cpp's order.

After the first truncation only what survived it is touched: a vocabulary of 151,936 costs well under a millisecond a
token. Candidates are sorted by logit, the lower id first among equals, so that the result never depends on how a sort
treats ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from localllm.errors import LocalllmError, UsageError
from localllm.generate.params import Sampling
from localllm.generate.piece import TokenLogprob
from localllm.generate.samplers import KEEP_THE_BEST, STAGES
from localllm.generate.samplers.adaptive import Adaptive
from localllm.generate.samplers.candidates import Candidates, best
from localllm.generate.samplers.chance import Chance
from localllm.generate.samplers.dry import Dry
from localllm.generate.samplers.ends import End, Plain
from localllm.generate.samplers.mirostat import Mirostat1, Mirostat2
from localllm.generate.samplers.penalties import Penalties
from localllm.generate.samplers.row import Floats, weigh
from localllm.generate.samplers.stage import Means, Stage, Vocabulary

Processor = Callable[[Sequence[int], Floats], "Floats | None"]
"""processor(ids, logits): the tokens so far and float32 [n_vocab], which it may change in place or answer by others."""


_READING = ("top_k", "greedy")
"""Stages that leave the logits that they are given as they are."""


class SampledModel(Protocol):
    """What a sampler needs of a model."""

    @property
    def suppressed(self) -> Sequence[int]: ...
    @property
    def tokenizer(self) -> Vocabulary | None: ...


def sampler_of(model: SampledModel, params: Sampling, processors: Sequence[Processor] = ()) -> Sampler:
    """The sampler of one answer of a model. Raises UsageError for tokens that the model does not have."""
    n_vocab = model.tokenizer.n_vocab if model.tokenizer else None
    if n_vocab is not None:
        _check_tokens(params, n_vocab)
    return Sampler(params, model.suppressed, processors, model.tokenizer)


@dataclass
class Sampler:
    """Picks the tokens of one answer (or of one conversation), and holds all state of it: a seed gives one text."""

    params: Sampling
    suppressed: Sequence[int] = ()
    """Tokens that are never picked."""
    processors: Sequence[Processor] = ()
    """Called before everything else, one after the other."""
    vocabulary: Vocabulary | None = None
    """In which DRY finds its sequence breakers."""

    def __post_init__(self) -> None:
        biases = {**dict(self.params.biases), **{int(token): -np.inf for token in self.suppressed}}
        self._biased = np.fromiter(biases, np.int64, len(biases))
        self._bias = np.fromiter(biases.values(), np.float32, len(biases))
        self._means = Means(Chance(self.params.seed), self.vocabulary)
        self._end = _end(self.params)
        named = _stages(self.params, self._means)
        self._stages = [stage for _, stage in named]
        self._reads_first = bool(named) and named[0][0] in _READING
        self._row = np.zeros(0, np.float32)
        """The logits of a step, where they are changed."""
        self._followers = [stage for stage in self._stages if isinstance(stage, Penalties | Dry)]
        self.keeps_draw = False
        """Whether `drawn` can tell of the last pick."""
        self._drawn: tuple[Candidates, NDArray[np.float64], int] | None = None
        self._seen: Sequence[int] = ()
        self._n_seen, self._last = 0, -1

    @property
    def seed(self) -> int:
        """The one that was given, or taken."""
        return self._means.chance.seed

    def pick(self, logits: Floats, ids: Sequence[int] = ()) -> int:
        """The next token.

        logits: float32 [n_vocab], finite or -inf, left as they are. ids: the tokens so far; where it is the list of the
        call before, only what was appended is looked at. Raises LocalllmError where no token may follow, UsageError for
        a bias of a token that does not exist and for what a processor must not answer.
        """
        with np.errstate(over="ignore"):
            candidates = self.candidates(logits, ids)
            weighed = weigh(candidates.logits)
            place = self._means.chance.draw(weighed.weights)
            if self.keeps_draw:  # before another row is weighed
                self._drawn = candidates, weighed.weights.astype(np.float64), place
            self._end.learn(weighed, place)
        return place if candidates.ids is None else int(candidates.ids[place])

    def drawn(self, n_top: int) -> TokenLogprob:
        """The token of the last `pick`, and the n_top likeliest, by the probabilities that it was drawn by. Only where
        `keeps_draw` was set before."""
        assert self._drawn
        candidates, shares, place = self._drawn
        with np.errstate(divide="ignore"):
            logs = np.log(shares / shares.sum())
        places = [int(p) for p in best(logs.astype(np.float32), n_top) if logs[p] > -np.inf] if n_top else []

        def told(p: int) -> tuple[int, float]:
            return (p if candidates.ids is None else int(candidates.ids[p])), float(logs[p])

        return TokenLogprob(*told(place), tuple(map(told, places)))

    def candidates(self, logits: Floats, ids: Sequence[int] = ()) -> Candidates:
        """What `pick` draws from, each by exp of its logit."""
        self._follow(ids)
        candidates = Candidates(None, self._directed(logits, ids))
        for stage in self._stages:
            candidates = stage(candidates)
        return self._end.shape(candidates)

    def _directed(self, logits: Floats, ids: Sequence[int]) -> Floats:
        """The logits after processors and biases, as a copy unless they are only read."""
        logits, n = np.asarray(logits, np.float32), len(logits)
        if self.processors or self._biased.size or not self._reads_first or 0 < n <= self.params.top_k:
            if len(self._row) != n:
                self._row = np.empty(n, np.float32)
            np.copyto(self._row, logits)
            logits = self._row
        for processor in self.processors:
            np.copyto(logits, _processed(processor, ids, logits))  # what it answers stays its own
        if self._biased.size:
            if self._biased.max() >= len(logits):
                _check_tokens(self.params, len(logits))
            logits[self._biased] += self._bias
            if logits.max() == -np.inf:
                raise LocalllmError("no token may follow: all that are left are banned, by bans or by logit_bias")
        return logits

    def _follow(self, ids: Sequence[int]) -> None:
        """Let the stages that look at the text see what is new."""
        if not self._followers:
            return
        grew = ids is self._seen and 0 < self._n_seen <= len(ids) and ids[self._n_seen - 1] == self._last
        known = self._n_seen if grew else 0
        for follower in self._followers:
            if known:
                for token in ids[known:]:
                    follower.push(token)
            else:
                follower.restart(ids)
        self._seen, self._n_seen, self._last = ids, len(ids), ids[-1] if len(ids) else -1


def _end(params: Sampling) -> End:
    if params.mirostat:
        return (Mirostat1, Mirostat2)[params.mirostat - 1](params)
    return Adaptive(params) if params.adaptive_target >= 0.0 else Plain()


def _stages(params: Sampling, means: Means) -> list[tuple[str, Stage]]:
    """The stages that do something, in order, with their names."""
    names = ("temperature",) if params.mirostat else params.samplers
    made = [(name, STAGES[name](params, means)) for name in names if name in STAGES]
    stages = [(name, stage) for name, stage in made if stage is not None]
    greedy = params.temperature <= 0.0 and params.dynatemp_range <= 0.0
    for at, (name, _) in enumerate(stages):
        if greedy and name == "temperature":  # the likeliest is taken here: what would keep it anyway need not run
            while at > 0 and stages[at - 1][0] in KEEP_THE_BEST:
                at -= 1
                del stages[at]
            stages[at] = "greedy", stages[at][1]
            break
    return stages


def _processed(processor: Processor, ids: Sequence[int], logits: Floats) -> Floats:
    answer = processor(ids, logits)
    if answer is None:
        answer = logits
    result: NDArray[np.float32] = np.asarray(answer, np.float32)
    if result.shape != logits.shape or not result.max() < np.inf:  # NaN spreads to the maximum
        raise UsageError(
            f"the logits processor {getattr(processor, '__name__', processor)!s} answers an array of shape "
            f"{result.shape}, which must be {logits.shape}, with numbers or -inf"
        )
    if result.max() == -np.inf:
        raise LocalllmError("no token may follow: a logits processor rules all of them out")
    return result


def _check_tokens(params: Sampling, n_vocab: int) -> None:
    for token, _ in params.biases:
        if token >= n_vocab:
            raise UsageError(f"logit_bias or bans names token {token}: the model's go from 0 to {n_vocab - 1}")

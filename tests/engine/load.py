"""Random requests for an engine, and what each must be answered: what the model answers it alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from localllm.engine.engine import Engine
from localllm.engine.request import Ended, Event, Failed, PromptRead, Request, Said
from localllm.generate.params import Sampling, SamplingOptions
from localllm.generate.piece import TokenLogprob

WAIT = 1800
"""Seconds after which a test gives up: it hangs."""


class Marching:
    """A constraint: after every token of an even id the next three follow without a choice, and odd ones of the last
    ten ids never come. It ends after 30 tokens."""

    def __init__(self, n_vocab: int) -> None:
        self.n_vocab, self.n = n_vocab, 0

    def mask(self, logits: Any) -> None:
        logits[self.n_vocab - 9 :: 2] = -np.inf

    def accept(self, token: int) -> Sequence[int]:
        forced = [(token + i) % (self.n_vocab - 10) for i in (1, 2, 3)] if token % 2 == 0 else []
        self.n += 1 + len(forced)
        return forced

    @property
    def finished(self) -> bool:
        return self.n >= 30


@dataclass
class Answered:
    """What came of a request: for each answer its tokens, text, logprobs and reason."""

    ids: list[list[int]]
    texts: list[str]
    logprobs: list[list[TokenLogprob]]
    reasons: list[str]
    prompt: list[TokenLogprob] = field(default_factory=list)
    error: Exception | None = None

    @classmethod
    def of_nothing(cls, n: int) -> Answered:
        return cls([[] for _ in range(n)], [""] * n, [[] for _ in range(n)], [""] * n)


class Asking:
    """A request under way: collects its events, and cancels it once `cancel_after` of them came, if they do."""

    def __init__(self, request: Request, cancel_after: int | None = None) -> None:
        self.request, self.cancel_after = request, cancel_after
        self.answered = Answered.of_nothing(request.n)
        self.done = threading.Event()
        self._n_events = self._n_ended = 0
        self._handle: Any = None

    def submit(self, engine: Engine) -> None:
        self._handle = engine.submit(self.request, self._on_event)

    def cancel(self) -> None:
        self._handle.cancel()

    def _on_event(self, event: Event) -> None:
        assert not self.done.is_set()
        self._n_events += 1
        match event:
            case Said(index, piece):
                assert not self.answered.reasons[index]
                self.answered.ids[index] += piece.tokens
                self.answered.texts[index] += piece.text
                self.answered.logprobs[index] += piece.logprobs
            case Ended(index, stats):
                assert not self.answered.reasons[index]
                assert stats.answer_tokens == len(self.answered.ids[index])
                self.answered.reasons[index] = stats.stop_reason
                self._n_ended += 1
            case PromptRead(logprobs):
                self.answered.prompt = list(logprobs)
            case Failed(error):
                self.answered.error = error
        if self._n_events == self.cancel_after and self._handle is not None:
            self._handle.cancel()
        if self._n_ended == self.request.n or isinstance(event, Failed):
            self.done.set()

    def wait(self) -> Answered:
        assert self.done.wait(WAIT), (self.request, self.answered)
        return self.answered


def random_requests(rng: np.random.Generator, n: int, n_vocab: int, longest: int) -> list[Request]:
    """Prompts of up to `longest` tokens, many of which begin alike, with everything that a request can ask for."""
    stems = [rng.integers(0, n_vocab, int(rng.integers(1, longest))).tolist() for _ in range(4)]

    def one() -> Request:
        stem = stems[rng.integers(len(stems))]
        kept = int(rng.integers(1, len(stem) + 1)) if rng.random() < 0.5 else len(stem)
        tail = rng.integers(0, n_vocab, int(rng.integers(0, 20))).tolist()
        ids = [*stem[:kept], *tail][:longest]
        if rng.random() < 0.3:
            stems[rng.integers(len(stems))] = ids
        return Request(
            ids,
            sampling=_sampling(rng),
            max_tokens=int(rng.integers(0, 40)) if rng.random() < 0.95 else None,
            stop=("a", "bc") if rng.random() < 0.2 else (),
            n=int(rng.integers(2, 6)) if rng.random() < 0.2 else 1,
            constraint=(lambda: Marching(n_vocab)) if rng.random() < 0.3 else None,
            logprobs=int(rng.integers(0, 4)) if rng.random() < 0.3 else None,
            prompt_logprobs=int(rng.integers(0, 3)) if rng.random() < 0.1 else None,
            ignore_eog=bool(rng.random() < 0.3),
            use_cache=bool(rng.random() < 0.8),
            user=str(rng.integers(3)),
        )

    return [one() for _ in range(n)]


STATEFUL: tuple[SamplingOptions, ...] = (
    {"repeat_penalty": 1.2, "repeat_last_n": -1}, {"frequency_penalty": 0.7, "presence_penalty": -0.3},
    {"dry_multiplier": 0.8, "dry_allowed_length": 1}, {"dry_multiplier": 1.0, "dry_penalty_last_n": -1, "top_k": 0},
    {"xtc_probability": 0.5, "xtc_threshold": 0.05}, {"mirostat": 1}, {"mirostat": 2, "mirostat_tau": 3.0},
    {"adaptive_target": 0.3}, {"typical_p": 0.7, "dynatemp_range": 0.4}, {"bans": (1, 2, 3), "top_n_sigma": 1.5},
)  # fmt: skip
"""Options whose samplers remember what was, or draw more than once a token."""


def _sampling(rng: np.random.Generator) -> Sampling:
    if rng.random() < 0.3:
        return Sampling(temperature=0.0)
    chosen = [STATEFUL[i] for i in rng.integers(0, len(STATEFUL), int(rng.integers(0, 3)))]
    return Sampling(
        temperature=float(rng.uniform(0.5, 3)),
        seed=int(rng.integers(1000)),
        **{name: value for options in chosen for name, value in options.items()},
    )


def alone(model: Any, request: Request, n_ctx: int, n_batch: int) -> Answered:
    """What the model answers by itself, one answer after another."""
    out = Answered.of_nothing(request.n)
    for k in range(request.n):
        sampling = request.sampling
        if sampling.seed is not None:
            sampling = replace(sampling, seed=sampling.seed + k)
        answer = model.answer(
            request.ids, sampling, request.max_tokens, request.stop, n_ctx, n_batch, request.constraint,
            request.logprobs, ignore_eog=request.ignore_eog,
        )  # fmt: skip
        out.texts[k] = "".join(answer)
        out.ids[k], out.logprobs[k], out.reasons[k] = answer.ids, answer.logprobs, answer.stats.stop_reason
    return out


def check(answered: Answered, expected: Answered, was_cancelled: bool) -> None:
    """The same, or of what was cancelled the same beginning."""
    assert answered.error is None
    for k, reason in enumerate(answered.reasons):
        if reason == "cancelled" and was_cancelled:
            n = len(answered.ids[k])
            assert answered.ids[k] == expected.ids[k][:n]
            assert answered.logprobs[k] == expected.logprobs[k][:n]
        else:
            assert reason == expected.reasons[k]
            assert answered.ids[k] == expected.ids[k]
            assert answered.texts[k] == expected.texts[k]
            assert answered.logprobs[k] == expected.logprobs[k]


def check_idle(engine: Engine) -> None:
    """No slot is lost, and nothing waits."""
    assert engine.drain(WAIT)
    status = engine.status()
    assert status.alive
    assert [slot.state for slot in status.slots] == ["idle"] * engine.options.n_seq
    assert status.queue == 0

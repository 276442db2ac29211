"""Answers of llama.cpp's /completion: server_task_result_cmpl_partial and _final of tools/server/server-task.cpp."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from localllm.engine.request import Ended, Event, Reading, Said
from localllm.generate.stats import Stats
from localllm.server.chat import reason_of
from localllm.server.dialects.openai_common import Progress, Timings, finite, timings, token_name

if TYPE_CHECKING:
    from localllm.server.models import Served

_STOP_TYPES = {"stop": "eos"}


class Prob(msgspec.Struct):
    id: int
    token: str
    bytes: list[int]
    logprob: float | UnsetType = UNSET
    top_logprobs: list[Prob] | UnsetType = UNSET
    prob: float | UnsetType = UNSET
    """With post_sampling_probs, in place of logprob."""
    top_probs: list[Prob] | UnsetType = UNSET


class Partial(msgspec.Struct, kw_only=True):
    """A piece of an answer."""

    index: int
    content: str
    tokens: list[int]
    stop: bool = False
    id_slot: int = -1
    tokens_predicted: int
    tokens_evaluated: int
    timings: Timings | UnsetType = UNSET
    prompt_progress: Progress | UnsetType = UNSET
    completion_probabilities: list[Prob] | UnsetType = UNSET


class Final(msgspec.Struct, kw_only=True):
    """An answer that is complete; of a stream, its last item, whose content is empty."""

    index: int
    content: str
    tokens: list[int]
    id_slot: int = -1
    stop: bool = True
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: dict[str, Any]
    prompt: str
    has_new_line: bool
    truncated: bool
    stop_type: str
    stopping_word: str
    tokens_cached: int
    timings: Timings
    completion_probabilities: list[Prob] | UnsetType = UNSET


class Stoppable(Protocol):
    def stop(self) -> None: ...


class Clock:
    """Ends answers after a time, for who wants as many lines as come until then."""

    def __init__(self, limit_ms: int | None, answer: Stoppable, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit_ms / 1000 if limit_ms is not None and limit_ms > 0 else None
        self._answer, self._now = answer, now
        self._begun: float | None = None
        self._has_line = self._is_over = False

    def seen(self, event: Event) -> Event:
        if self._limit is None:
            return event
        if isinstance(event, Said) and not self._is_over:
            now = self._now()
            self._begun = now if self._begun is None else self._begun
            self._has_line |= "\n" in event.piece.text
            if self._has_line and now - self._begun > self._limit:
                self._is_over = True
                self._answer.stop()
        if isinstance(event, Ended) and self._is_over and event.stats.stop_reason == "cancelled":
            return replace(event, stats=replace(event.stats, stop_reason="deadline"))
        return event


@dataclass
class LlamaAnswer:
    """One answer on its way. `held`: tokens whose text has not come yet."""

    index: int
    served: Served
    ids: Sequence[int]
    settings: dict[str, Any]
    with_tokens: bool
    """Whether the answer as a whole tells them."""
    with_timings: bool
    """Whether each piece tells of them."""
    with_probs: bool = False
    """They are probabilities, not logarithms."""
    text: str = ""
    n_tokens: int = 0
    tokens: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    probs: list[Prob] = field(default_factory=list)
    ended: Ended | None = None
    begun: float = field(default_factory=time.monotonic)
    first: float = 0.0
    cached: int = 0

    def reading(self, event: Reading) -> None:
        self.cached = event.cached

    def progress(self, event: Reading) -> Progress:
        return Progress(event.total, event.cached, event.done, round(1000 * (time.monotonic() - self.begun)))

    def add(self, event: Said) -> None:
        piece = event.piece
        self.first = self.first or time.monotonic()
        self.text += piece.text
        self.n_tokens += len(piece.tokens)
        self.held += piece.tokens
        if self.with_tokens:
            self.tokens += piece.tokens
        self.probs += [self._prob(t.token, t.logprob, t.top) for t in piece.logprobs]

    def end(self, event: Ended) -> None:
        reason_of(event.stats)
        self.ended = event

    def partial(self, text: str, **more: Any) -> Partial:
        """What came since the last one."""
        tokens, self.held = self.held, []
        probs, self.probs = self.probs, []
        if self.with_timings:
            more["timings"] = timings(self._so_far())
        return Partial(
            index=self.index,
            content=text,
            tokens=tokens,
            tokens_predicted=self.n_tokens,
            tokens_evaluated=len(self.ids),
            completion_probabilities=probs or UNSET,
            **more,
        )

    def _so_far(self) -> Stats:
        now = time.monotonic()
        read = len(self.ids) if self.first else self.cached
        return Stats(
            prompt_tokens=read,
            cached_tokens=self.cached,
            prompt_seconds=(self.first or now) - self.begun if self.first else 0.0,
            answer_tokens=self.n_tokens,
            answer_seconds=now - self.first if self.first else 0.0,
            steps=max(0, self.n_tokens - 1),
        )

    def final(self, text: str) -> Final:
        assert self.ended
        stats, stop_text = self.ended.stats, self.ended.stop_text
        tokenizer = self.served.model.tokenizer
        return Final(
            index=self.index,
            content=text,
            tokens=self.tokens,
            model=self.served.name,
            tokens_predicted=stats.answer_tokens,
            tokens_evaluated=stats.prompt_tokens,
            generation_settings=self.settings,
            prompt="" if tokenizer is None else tokenizer.decode(self.ids, special=True),
            has_new_line="\n" in self.text,
            truncated=stats.stop_reason == "context",
            stop_type=_STOP_TYPES.get(stats.stop_reason, "limit") if not stop_text else "word",
            stopping_word=stop_text,
            tokens_cached=stats.cached_tokens,
            timings=timings(stats),
            completion_probabilities=self.probs or UNSET,
        )

    def _prob(self, token: int, logprob: float, top: Sequence[tuple[int, float]] | None) -> Prob:
        text, raw = token_name(self.served.model.tokenizer, token)
        found: list[Prob] | UnsetType = UNSET if top is None else [self._prob(i, value, None) for i, value in top]
        if self.with_probs:
            return Prob(token, text, raw, prob=math.exp(logprob), top_probs=found)
        return Prob(token, text, raw, finite(logprob), found)


def chosen(final: Final, wanted: Sequence[str] | None) -> Any:
    """The fields of an answer that are wanted ("generation_settings/n_predict" names one within another, and is found
    under that name in the result); all of them for none."""
    if not wanted:
        return final
    told = msgspec.to_builtins(final)
    found: dict[str, Any] = {}
    for name in wanted:
        value: Any = told
        for part in name.split("/"):
            value = value.get(part, UNSET) if isinstance(value, dict) else UNSET
        if value is not UNSET:
            found[name] = value
    return found

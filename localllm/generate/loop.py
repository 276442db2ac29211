"""The token loop: a prompt goes in, pieces of text come out.

It knows a context only through `Engine`, and text only through a decoder: tests drive it without a model.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from localllm.errors import Cancelled, ContextFullError, LocalllmError
from localllm.generate.sampling import Floats, Sampler
from localllm.generate.stops import StopStrings


class Engine(Protocol):
    """What the loop needs of a context (localllm.model's Context is one)."""

    @property
    def n_ctx(self) -> int: ...
    @property
    def n_batch(self) -> int: ...
    def forward(self, tokens: Sequence[int]) -> Floats: ...
    def n_past(self, seq_id: int = 0) -> int: ...
    def cut(self, seq_id: int, position: int) -> int: ...
    def checkpoint(self, seq_id: int = 0) -> None: ...
    def clear(self) -> None: ...


class Decoder(Protocol):
    """What the loop needs of a tokenizer's stream."""

    def push(self, token: int) -> str: ...
    def finish(self) -> str: ...


@dataclass
class Stats:
    """What an answer took. Times are wall seconds of model and sampler, without the time of who reads the pieces."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Tokens of the prompt that the context held already."""
    prompt_seconds: float = 0.0
    answer_tokens: int = 0
    answer_seconds: float = 0.0
    steps: int = 0
    """Forward passes of one token within answer_seconds (the first token of an answer comes out of the prompt)."""
    stop_reason: str = ""
    """"stop" (the model's end, or a stop string), "length", "context" (it is full) or "cancelled"; "" while running."""

    @property
    def prompt_rate(self) -> float:
        """Prompt tokens a second; 0 when there was nothing to measure."""
        return (self.prompt_tokens - self.cached_tokens) / self.prompt_seconds if self.prompt_seconds else 0.0

    @property
    def answer_rate(self) -> float:
        """Answer tokens a second; 0 when there was nothing to measure."""
        return self.steps / self.answer_seconds if self.steps else 0.0


class Tape:
    """The ids that sequence 0 of a context holds, so that the next prompt can reuse a common head."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ids: list[int] = []

    def feed(self, tokens: Sequence[int]) -> Floats:
        """Evaluate tokens after what is there, in chunks of n_batch; float32 [n_vocab]: logits after the last one."""
        if not tokens:
            raise ValueError("no tokens to feed")
        n_batch = self.engine.n_batch
        for start in range(0, len(tokens), n_batch):
            chunk = list(tokens[start : start + n_batch])
            logits = self.engine.forward(chunk)
            self.ids += chunk
        return _finite(logits[-1], len(self.ids))

    def reuse(self, prompt: Sequence[int]) -> int:
        """Forget what does not agree with `prompt`; the number of its tokens that need not be fed again.

        At least one token is left to feed, since its logits are wanted. A context may go back further than asked.
        """
        kept = min(_common(self.ids, prompt), len(prompt) - 1)
        if self.engine.n_past(0) != len(self.ids):  # a pass was interrupted at a place we do not know
            self.engine.clear()
            kept = 0
        elif kept < len(self.ids):
            kept = self.engine.cut(0, kept)
        del self.ids[kept:]
        return kept


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def _finite(logits: Floats, n_past: int) -> Floats:
    if not np.isfinite(logits).all():
        bad = int(np.flatnonzero(~np.isfinite(logits))[0])
        raise LocalllmError(
            f"after {n_past} tokens the logit of token {bad} is {float(logits[bad])}, not a finite number: "
            "the model file is damaged (compare its SHA-256), or this is a bug in localllm"
        )
    return logits


def check_prompt(n_prompt: int, n_ctx: int) -> None:
    """Raise ContextFullError for a prompt that does not fit, LocalllmError for an empty one."""
    if n_prompt == 0:
        raise LocalllmError("the prompt is empty: there is nothing to go on from")
    if n_prompt > n_ctx:
        raise ContextFullError(
            f"the prompt has {n_prompt} tokens, the context holds {n_ctx}: "
            "shorten it, or ask for a larger context (-c; n_ctx in Python)"
        )


def answer_ids(
    tape: Tape,
    prompt: Sequence[int],
    sampler: Sampler,
    stats: Stats,
    eog_ids: frozenset[int] = frozenset(),
    max_tokens: int | None = None,
) -> Iterator[int]:
    """Yield the ids of an answer to `prompt`; `stats` is kept up to date and says at the end why it stopped.

    The model's end-of-generation token is not yielded. When a token has been yielded the next one is not yet
    computed: who closes this iterator pays for nothing more.
    Raises ContextFullError when the prompt does not fit. Cancelled by `context.cancel()`, it just ends.
    """
    check_prompt(len(prompt), tape.engine.n_ctx)
    stats.prompt_tokens = len(prompt)
    seen = list(prompt)
    try:
        start = time.perf_counter()
        stats.cached_tokens = tape.reuse(prompt)
        logits = tape.feed(prompt[stats.cached_tokens :])
        stats.prompt_seconds = time.perf_counter() - start
        while max_tokens is None or stats.answer_tokens < max_tokens:
            start = time.perf_counter()
            if stats.answer_tokens:
                if len(tape.ids) >= tape.engine.n_ctx:
                    stats.stop_reason = "context"
                    return
                logits = tape.feed(seen[-1:])
                stats.steps += 1
            token = sampler.pick(logits, seen)
            if stats.answer_tokens:
                stats.answer_seconds += time.perf_counter() - start
            if token in eog_ids:
                stats.stop_reason = "stop"
                return
            seen.append(token)
            stats.answer_tokens += 1
            yield token
        stats.stop_reason = "length"
    except Cancelled:
        return
    finally:
        stats.stop_reason = stats.stop_reason or "cancelled"


def answer_text(ids: Iterable[int], decoder: Decoder, stats: Stats, stop: Sequence[str] = ()) -> Iterator[str]:
    """Turn ids into pieces of text, up to the first stop string, which is not part of them."""
    stops = StopStrings(stop)
    for token in ids:
        piece = stops.push(decoder.push(token))
        if piece:
            yield piece
        if stops.found:
            stats.stop_reason = "stop"
            return
    piece = stops.push(decoder.finish())
    if stops.found:
        stats.stop_reason = "stop"
    else:
        piece += stops.finish()
    if piece:
        yield piece

"""The token loop: drives one answer over sequence 0 of a context.

It knows a context only through `Engine`: tests drive it without a model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol

import numpy as np

from localllm.errors import Cancelled
from localllm.generate.piece import Piece
from localllm.generate.prompt_cache import PromptCache
from localllm.generate.samplers.row import Floats
from localllm.generate.sequence import AnswerSequence
from localllm.generate.speculation.speculation import Speculation

_TOLD_TOKENS, _TOLD_SECONDS = 128, 1.0
"""Of a chunk, where somebody is told how far a prompt is read: at least so many, and about so long."""


class Engine(Protocol):
    """What the loop needs of a context (localllm.model's Context is one)."""

    @property
    def n_ctx(self) -> int: ...
    @property
    def n_batch(self) -> int: ...
    def forward(
        self, tokens: Sequence[int], *, want_logits: Sequence[bool] | None = None, stop: np.ndarray | None = None
    ) -> Floats: ...
    def n_past(self, seq_id: int = 0) -> int: ...
    def cut(self, seq_id: int, position: int) -> int: ...
    def checkpoint(self, seq_id: int = 0) -> None: ...
    def clear(self) -> None: ...


class Tape:
    """The ids that sequence 0 of a context holds, so that the next prompt can reuse a common head."""

    def __init__(
        self, engine: Engine, cache: PromptCache | None = None, speculation: Speculation | None = None
    ) -> None:
        self.engine, self.speculation, self._cache = engine, speculation, cache
        self.ids: list[int] = []
        self.stop = np.zeros(1, np.int64)
        """Set to 1, by a signal handler or another thread: what is evaluated, or will be, ends with Cancelled."""
        self.on_read: Callable[[int, int], None] | None = None
        """on_read(done, total): called before and after each chunk of a prompt, in tokens."""
        self.pause = 0
        """How much of the next prompt those after it will share: reading pauses there, so that recurrent states can
        come back to it. 0: nowhere."""

    def feed(self, tokens: Sequence[int], told: Callable[[int], None] | None = None) -> Floats:
        """Evaluate tokens after what is there, in chunks of n_batch; float32 [n_vocab]: logits after the last one.

        told: called after each chunk with the number of tokens that are there; chunks are smaller then, where that many
        take long."""
        if not tokens:
            raise ValueError("no tokens to feed")
        n_batch = self.engine.n_batch
        start, n = 0, min(_TOLD_TOKENS, n_batch) if told else n_batch
        while start < len(tokens):
            begun = time.perf_counter()
            chunk = list(tokens[start : start + n])
            logits = self._forward(chunk)
            start += len(chunk)
            if told:
                told(len(self.ids))
                fitting = int(len(chunk) * _TOLD_SECONDS / (time.perf_counter() - begun))
                n = min(max(fitting // _TOLD_TOKENS, 1) * _TOLD_TOKENS, n_batch)
        last: Floats = logits[-1]
        return last

    def verify(self, tokens: Sequence[int], guesses: Sequence[int]) -> Floats:
        """Evaluate tokens after what is there, and guesses at those that follow, in one pass; float32 [1 + n_guesses,
        n_vocab]: logits after the last token, and after each guess."""
        rows = [*tokens, *guesses]
        want = [i + 1 >= len(tokens) for i in range(len(rows))]
        return self._forward(rows, want)

    def _forward(self, tokens: list[int], want_logits: list[bool] | None = None) -> Floats:
        logits = self.engine.forward(tokens, want_logits=want_logits, stop=self.stop)
        self.ids += tokens
        if self.speculation:
            self.speculation.passed(self.ids, self.stop)
        return logits

    def cut(self, n: int) -> None:
        """Forget what is there after the first n tokens, or more of it, where states cannot go back to just there."""
        del self.ids[self.engine.cut(0, n) :]

    def read(self, prompt: Sequence[int]) -> tuple[int, Floats]:
        """Evaluate a prompt; how many of its tokens were there already, or in the cache, and logits after its last
        one."""
        kept = self.reuse(prompt)
        if self._cache:
            match = self._cache.find(prompt, kept)
            if n_past := match.restore_into(self._cache.context, 0):
                self.ids = list(prompt[:n_past])
                kept = n_past
            if match.mark:
                self.feed(prompt[kept : match.mark], self._telling(len(prompt)))
                self.keep()
        told = self._telling(len(prompt))
        if len(self.ids) < self.pause < len(prompt):
            self.feed(prompt[len(self.ids) : self.pause], told)
        return kept, self.feed(prompt[len(self.ids) :], told)

    def _telling(self, total: int) -> Callable[[int], None] | None:
        on_read = self.on_read
        if on_read is None:
            return None
        on_read(len(self.ids), total)
        return lambda done: on_read(done, total)

    def keep(self) -> None:
        """What was read goes into the cache, if there is one and it is worth it."""
        if self._cache:
            self._cache.save(self._cache.context, 0, self.ids)

    def reuse(self, prompt: Sequence[int]) -> int:
        """Forget what does not agree with `prompt`; the number of its tokens that need not be fed again.

        At least one token is left to feed, since its logits are wanted. A context may go back further than asked.
        """
        kept = min(common(self.ids, prompt), len(prompt) - 1)
        if self.engine.n_past(0) != len(self.ids):  # a pass was interrupted at a place we do not know
            self.engine.clear()
            kept = 0
        elif kept < len(self.ids):
            kept = self.engine.cut(0, kept)
        del self.ids[kept:]
        return kept


def _step(tape: Tape, sequence: AnswerSequence) -> Iterator[Piece]:
    """One pass: the tokens that are known, and guesses at those that follow, as far as they turn out to be right."""
    stats, start = sequence.stats, time.perf_counter()
    tokens = sequence.ids[len(tape.ids) :]
    guesses: Sequence[int] = ()
    if tape.speculation:
        room = min(sequence.room, tape.engine.n_batch - len(tokens))
        guesses = tape.speculation.guess(sequence.ids, room)
    begun = time.perf_counter()
    logits = tape.verify(tokens, guesses) if guesses else tape.feed(tokens)[np.newaxis]
    seconds = time.perf_counter() - begun
    n_right = n_used = 0
    while True:
        n_known, n_used = len(sequence.ids), n_right
        piece = sequence.feed(logits[n_right])
        n_agree = common(sequence.ids[n_known:], guesses[n_right:])
        n_right += n_agree
        stats.answer_seconds += time.perf_counter() - start
        yield piece
        start = time.perf_counter()
        if sequence.finished or n_known + n_agree < len(sequence.ids) or not n_agree:
            break
    if tape.speculation:
        tape.speculation.note(len(tokens) + len(guesses), seconds, n_right)
    if n_right < len(guesses):
        tape.cut(len(tape.ids) - len(guesses) + n_right)
    stats.steps += len(tokens) + n_used
    stats.guessed += len(guesses)
    stats.guessed_right += n_right
    stats.answer_seconds += time.perf_counter() - start


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def drive(tape: Tape, sequence: AnswerSequence) -> Generator[Piece, None, None]:
    """Evaluate what an answer needs, and yield its pieces as they come.

    When a piece has been yielded the next token is not yet computed: who closes this iterator pays for nothing more.
    Cancelled by `context.cancel()`, it just ends.
    """
    stats = sequence.stats
    try:
        start = time.perf_counter()
        stats.cached_tokens, logits = tape.read(sequence.ids)
        stats.prompt_seconds = time.perf_counter() - start
        piece = sequence.feed(logits)
        try:
            yield piece
        finally:
            tape.keep()
        while not sequence.finished:
            yield from _step(tape, sequence)
    except Cancelled:
        yield sequence.end("cancelled")
    finally:
        sequence.end("cancelled")

"""One answer as a state machine: logits go in, tokens and text come out.

It evaluates nothing: who drives it (`localllm.generate.loop` one, `localllm.engine` many) evaluates `ids` and feeds the
logits after the last of them. So an answer is the same whatever else is computed beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from localllm.errors import ContextFullError, LocalllmError
from localllm.generate.constraint import Constraint
from localllm.generate.logprobs import token_logprob
from localllm.generate.piece import Piece, TokenLogprob
from localllm.generate.samplers.row import Floats
from localllm.generate.sampling import Sampler
from localllm.generate.stats import Stats
from localllm.generate.stops import StopStrings


class Decoder(Protocol):
    """What an answer needs of a tokenizer's stream."""

    def push(self, token: int) -> str: ...
    def finish(self) -> str: ...


class AnswerSequence:
    """The tokens of a prompt and of its answer so far, and what the next logits make of them.

    Raises ContextFullError for a prompt longer than n_ctx, LocalllmError for an empty one.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        sampler: Sampler,
        decoder: Decoder,
        *,
        n_ctx: int,
        eog_ids: Collection[int] = frozenset(),
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        constraint: Constraint | None = None,
        logprobs: int | None = None,
        ignore_eog: bool = False,
        sampled_logprobs: bool = False,
    ) -> None:
        """logprobs, sampled_logprobs, ignore_eog: as in localllm.engine.request's Request. A constraint says itself
        when an answer may end: ignore_eog does not count beside it."""
        check_prompt(len(prompt), n_ctx)
        self.ids = list(prompt)
        """The prompt, then the answer, without the model's end token."""
        self.n_prompt = len(self.ids)
        self.stats = Stats(prompt_tokens=self.n_prompt)
        self._sampler, self._decoder, self._n_ctx = sampler, decoder, n_ctx
        self._eog_ids, self._max_tokens = frozenset(eog_ids), max_tokens
        self._stops = StopStrings(stop)
        self._constraint, self._logprobs = constraint, logprobs
        self._tells_draws = sampled_logprobs and logprobs is not None
        sampler.keeps_draw |= self._tells_draws
        self._banned = np.asarray(sorted(self._eog_ids) if ignore_eog and constraint is None else [], np.int64)
        self.ending: TokenLogprob | None = None
        """How likely the end token was that the model ended the answer by, where logprobs are wanted."""
        self._forced: deque[int] = deque()
        """Tokens that the constraint has set, and that are not in `ids` yet."""

    @property
    def finished(self) -> bool:
        """Nothing follows: `stats.stop_reason` says why."""
        return bool(self.stats.stop_reason)

    @property
    def room(self) -> int:
        """Tokens that may follow at the most, and be evaluated: an answer's last one never is."""
        left = self._n_ctx - len(self.ids)
        return left if self._max_tokens is None else min(left, self._max_tokens - self.stats.answer_tokens - 1)

    @property
    def stop_text(self) -> str:
        """The stop string that ended the answer, or ""."""
        return self._stops.found

    def feed(self, logits: Floats) -> Piece:
        """What the logits after the last of `ids` add to the answer; it may be finished then.

        logits: float32 [n_vocab], may be overwritten. A piece has several tokens where a constraint leaves no choice.
        Raises LocalllmError for logits that are not finite, and where a constraint lets no token follow.
        """
        if self.finished:
            raise ValueError("this answer is finished")
        check_finite(logits, len(self.ids))
        if self._max_tokens == 0:
            return self.end("length")
        if self._constraint is not None and self._constraint.finished and not self._forced:
            return self.end("stop")
        if self._logprobs is None:
            return self._append([self._next(logits), *self._drain()], ())
        is_forced = bool(self._forced)
        raw = logits if self._tells_draws else logits.copy()
        token = self._next(logits)  # forced tokens follow one by one: each has its own logits
        if not self._tells_draws:
            told = token_logprob(raw, token, self._logprobs)
        else:
            told = TokenLogprob(token, 0.0, ((token, 0.0),)) if is_forced else self._sampler.drawn(self._logprobs)
        return self._append([token], (told,))

    def end(self, reason: str) -> Piece:
        """Finish for a reason of the driver's; what was held back. Nothing happens to a finished answer."""
        if self.finished:
            return Piece()
        self.stats.stop_reason = reason
        return Piece(self._rest())

    def _next(self, logits: Floats) -> int:
        """The token that comes now: one that was forced, or the sampler's choice."""
        if self._forced:
            return self._forced.popleft()
        if self._banned.size:
            logits[self._banned] = -np.inf
        if self._constraint is None:
            return self._sampler.pick(logits, self.ids)
        self._constraint.mask(logits)
        if logits.max() == -np.inf:
            raise LocalllmError(f"after {len(self.ids)} tokens the constraint lets no token follow")
        token = self._sampler.pick(logits, self.ids)
        if token not in self._eog_ids:
            self._forced.extend(self._constraint.accept(token))
        return token

    def _drain(self) -> list[int]:
        forced = list(self._forced)
        self._forced.clear()
        return forced

    def _append(self, tokens: Sequence[int], logprobs: tuple[TokenLogprob, ...]) -> Piece:
        """Take tokens into the answer until something ends it."""
        said, text = [], ""
        for i, token in enumerate(tokens, 1):
            if token in self._eog_ids:
                self.stats.stop_reason = "stop"
                self.ending = next(iter(logprobs), None)
                break
            said.append(token)
            self.ids.append(token)
            self.stats.answer_tokens += 1
            text += self._stops.push(self._decoder.push(token))
            self.stats.stop_reason = self._reason(is_last=i == len(tokens))
            if self.finished:
                break
        if self.finished:
            text += self._rest()
        return Piece(text, tuple(said), logprobs[: len(said)])

    def _reason(self, is_last: bool) -> str:
        """Why the answer ends after its newest token, the last one that is known; "" if it goes on."""
        if self._stops.found:
            return "stop"
        if is_last and self._constraint is not None and self._constraint.finished and not self._forced:
            return "stop"  # also where max_tokens is reached: nothing is missing
        if self._max_tokens is not None and self.stats.answer_tokens >= self._max_tokens:
            return "length"
        return "context" if len(self.ids) > self._n_ctx else ""

    def _rest(self) -> str:
        """What decoder and stop strings held back, once nothing follows."""
        if self._stops.found:
            return ""
        text = self._stops.push(self._decoder.finish())
        if self._stops.found:
            self.stats.stop_reason = "stop"
            return text
        return text + self._stops.finish()


def check_prompt(n_prompt: int, n_ctx: int) -> None:
    """Raise ContextFullError for a prompt that does not fit, LocalllmError for an empty one."""
    if n_prompt == 0:
        raise LocalllmError("the prompt is empty: there is nothing to go on from")
    if n_prompt > n_ctx:
        raise ContextFullError(
            f"the prompt has {n_prompt} tokens, the context holds {n_ctx}: "
            "shorten it, or ask for a larger context (-c; n_ctx in Python)"
        )


def check_finite(logits: Floats, n_past: int) -> None:
    """Raise LocalllmError where one of `logits` (of any shape) is not a finite number."""
    if np.isfinite(logits.max()) and np.isfinite(logits.min()):  # NaN spreads to both
        return
    flat = logits.ravel()
    bad = int(np.flatnonzero(~np.isfinite(flat))[0])
    raise LocalllmError(
        f"after {n_past} tokens the logit of token {bad} is {float(flat[bad])}, not a finite number: "
        "the model file is damaged (compare its SHA-256), or this is a bug in localllm"
    )

"""What the engine takes and what it gives: requests and events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from localllm.errors import LocalllmError
from localllm.generate.constraint import NewConstraint
from localllm.generate.params import Sampling
from localllm.generate.piece import Piece, TokenLogprob
from localllm.generate.sampling import Processor
from localllm.generate.stats import Stats


@dataclass(frozen=True)
class Request:
    """One prompt, and how it is to be answered."""

    ids: Sequence[int]
    """The prompt."""
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    """None: until the context is full."""
    stop: tuple[str, ...] = ()
    """Texts before which an answer ends."""
    n: int = 1
    """Answers. The k-th one takes the seed + k."""
    constraint: NewConstraint | None = None
    processors: tuple[Processor, ...] = ()
    """Python functions that change the logits before they are sampled from, each by (tokens so far, float32 [n_vocab]).
    They are called in the engine's thread."""
    logprobs: int | None = None
    """How many of the likeliest tokens are told at each place (0: the chosen one alone); None: none are."""
    sampled_logprobs: bool = False
    """Those are of the probabilities that the tokens were drawn by, after the whole chain of samplers, and not of the
    model's own."""
    prompt_logprobs: int | None = None
    """The same for the tokens of the prompt."""
    show_special: bool = False
    """Control tokens are part of the text, for who looks for them in it."""
    ignore_eog: bool = False
    """The model's end tokens are never chosen: an answer goes on to max_tokens."""
    use_cache: bool = True
    """Known beginnings of the prompt are not read again."""
    user: str = ""
    """Whose request it is: users take turns."""
    deadline: float | None = None
    """Seconds from submission after which it ends with the reason "deadline"."""


@dataclass(frozen=True)
class Reading:
    """The prompt is being read: `done` of `total` tokens (those that were known count as done)."""

    done: int
    total: int
    cached: int


@dataclass(frozen=True)
class PromptRead:
    """How likely the prompt's tokens were, from the second one on, where it was asked for."""

    logprobs: Sequence[TokenLogprob]


@dataclass(frozen=True)
class Said:
    """A piece of answer number `index`."""

    index: int
    piece: Piece


@dataclass(frozen=True)
class Ended:
    """Answer number `index` is complete: `stats.stop_reason` says why ("stop", "length", "context", "cancelled",
    "deadline"); stop_text is the stop string that was found; ending, how likely the end token was that the model chose,
    where logprobs were asked for."""

    index: int
    stats: Stats
    stop_text: str = ""
    ending: TokenLogprob | None = None


@dataclass(frozen=True)
class Failed:
    """The request came to an error; nothing follows."""

    error: LocalllmError


Event = Reading | PromptRead | Said | Ended | Failed
"""In this order: Reading as often as it goes on, PromptRead, pieces, an Ended for each answer; or Failed."""
OnEvent = Callable[[Event], None]
"""Called in the engine's thread: it must return at once."""

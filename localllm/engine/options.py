"""What an engine is made with, and what it tells about itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from localllm.errors import UsageError


@dataclass(frozen=True)
class EngineOptions:
    """Raises UsageError for a value out of its range."""

    n_ctx: int | None = None
    """Tokens of each sequence; None: the model's default."""
    n_seq: int = 4
    """Answers that are computed at the same time."""
    n_batch: int = 512
    """Rows of a pass, at most."""
    max_queue: int = 256
    """Requests that wait; one more is refused."""
    max_gap: float = 0.25
    """Seconds between two tokens of an answer that the reading of other prompts may cause, as far as it can be
    foreseen."""
    stall_seconds: float = 120.0
    """An engine that has work and has not ended a pass for so long does not count as alive."""

    def __post_init__(self) -> None:
        for name, low, high in _LIMITS:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is {value}: it must lie between {low} and {high}")


_LIMITS = (
    ("n_seq", 1, 4096),
    ("n_batch", 1, 512),
    ("max_queue", 0, 1 << 20),
    ("max_gap", 0.0, 3600.0),
    ("stall_seconds", 1.0, 1e6),
)


@dataclass(frozen=True)
class SlotStatus:
    """One sequence of the engine's context."""

    id: int
    state: str
    """"idle", "reading" (a prompt) or "answering"."""
    n_past: int
    """Tokens that it holds."""
    n_prompt: int = 0
    n_answer: int = 0
    """Tokens of the answer under way."""


@dataclass
class Totals:
    """Counted since the engine was made."""

    requests: int = 0
    """Submitted, without those that were refused."""
    refused: int = 0
    """For a full queue."""
    ended: int = 0
    """Requests that all answers of were given, in whole or up to a cancellation."""
    cancelled: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    """Evaluated tokens of prompts."""
    cached_tokens: int = 0
    """Tokens of prompts that needed no evaluation."""
    answer_tokens: int = 0
    passes: int = 0
    aborted: int = 0
    """Passes that a cancellation broke off; their rows were evaluated again."""
    prompt_seconds: float = 0.0
    """In passes with pieces of prompts."""
    answer_seconds: float = 0.0
    """In passes with nothing but tokens of answers."""


@dataclass(frozen=True)
class EngineStatus:
    """A moment of an engine."""

    alive: bool
    """Its loop runs, and passes come to an end."""
    n_ctx: int
    slots: tuple[SlotStatus, ...]
    queue: int
    """Requests that wait for a slot."""
    totals: Totals = field(default_factory=Totals)
    last_pass_rows: int = 0
    last_pass_seconds: float = 0.0
    error: str = ""
    """What has ended the loop."""

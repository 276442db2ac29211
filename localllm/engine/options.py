"""What an engine is made with, and what it tells about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from localllm.errors import UsageError
from localllm.generate.prompt_cache import DISK_BYTES, CacheStatus


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
    cache_bytes: int | None = None
    """Memory for beginnings of prompts that no slot holds any more; 0: none are kept; None: see
    localllm.generate.prompt_cache."""
    cache_folder: Path | None = None
    """Where beginnings of prompts are kept on disk, for engines to come; None: nowhere."""
    cache_disk: int = DISK_BYTES
    """Bytes of that folder, at most."""
    max_gap: float = 0.4
    """Seconds between two tokens of an answer that the reading of other prompts may cause, as far as it can be
    foreseen."""
    abort_seconds: float = 0.06
    """A pass is broken off for a cancellation where it would go on for longer."""
    stall_seconds: float = 120.0
    """An engine that has work and has not ended a pass for so long does not count as alive."""

    def __post_init__(self) -> None:
        for name, low, high in _LIMITS:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is {value}: it must lie between {low} and {high}")
        if self.n_seq > self.n_batch:
            raise UsageError(f"n_seq is {self.n_seq}: each needs a row of a pass, and n_batch is {self.n_batch}")


_LIMITS = (
    ("n_seq", 1, 4096),
    ("n_batch", 1, 512),
    ("max_queue", 0, 1 << 20),
    ("cache_bytes", 0, 1 << 50),
    ("cache_disk", 0, 1 << 50),
    ("max_gap", 0.0, 3600.0),
    ("abort_seconds", 0.0, 3600.0),
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
    """Requests whose answers have all come to their own end."""
    cancelled: int = 0
    """By who asked, or by a deadline."""
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
    """Of passes, the share of rows of prompts."""
    answer_seconds: float = 0.0
    """Of passes, the share of rows of answers."""


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
    cache: CacheStatus | None = None
    last_pass_rows: int = 0
    last_pass_seconds: float = 0.0
    error: str = ""
    """What has ended the loop."""

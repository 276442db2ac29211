"""What an answer took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Stats:
    """Times are wall seconds of model and sampler, without the time of who reads the pieces."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Tokens of the prompt that the context held already."""
    prompt_seconds: float = 0.0
    answer_tokens: int = 0
    answer_seconds: float = 0.0
    steps: int = 0
    """Tokens that were evaluated within answer_seconds (the first token of an answer comes out of the prompt)."""
    stop_reason: str = ""
    """"stop" (the model's end, a stop string, or the end of a constraint), "length", "context" (it is full),
    "cancelled" or "deadline"; "" while running."""
    queue_seconds: float = 0.0
    """Before the prompt was begun, while other requests were served."""
    guessed: int = 0
    """Tokens of the answer that were guessed before they came (localllm.generate.speculation), ..."""
    guessed_right: int = 0
    """... and how many of those guesses were right."""

    @property
    def prompt_rate(self) -> float:
        """Prompt tokens a second; 0 when there was nothing to measure."""
        return (self.prompt_tokens - self.cached_tokens) / self.prompt_seconds if self.prompt_seconds else 0.0

    @property
    def answer_rate(self) -> float:
        """Answer tokens a second; 0 when there was nothing to measure."""
        return self.steps / self.answer_seconds if self.steps and self.answer_seconds else 0.0

    def __str__(self) -> str:
        """One line for people."""
        cached = f" ({self.cached_tokens} kept)" if self.cached_tokens else ""
        parts = [
            f"prompt {self.prompt_tokens} tokens{cached}{_rate(self.prompt_rate)}",
            f"answer {self.answer_tokens} tokens{_rate(self.answer_rate)}",
        ]
        if self.guessed_right:
            parts.append(f"{self.guessed_right} of {self.guessed} guesses right")
        if self.stop_reason in _REASONS:
            parts.append(_REASONS[self.stop_reason])
        return f"[ {' | '.join(parts)} ]"


def _rate(rate: float) -> str:
    return f", {rate:.1f} t/s" if rate else ""


_REASONS = {"length": "ended by -n", "context": "context full", "cancelled": "stopped"}
"""Reasons that are shown; that the model ended by itself is not."""

"""The text of an answer, piece by piece, taken apart into content, thinking and calls."""

from __future__ import annotations

from localllm.generate.dialogue.deltas import Content, Delta


class OutputParser:
    """Takes one answer's text as it comes. What is certain is given out at once, and every character only once."""

    def push(self, text: str) -> list[Delta]:
        """What a piece of text makes certain."""
        return [Content(text)] if text else []

    def finish(self) -> list[Delta]:
        """What was held back, now that nothing follows."""
        return []

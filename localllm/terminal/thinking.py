"""What a model thinks before it answers, dimmed: its text, or one line that tells how long it takes."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from localllm.terminal.leaves import Literal, Page
from localllm.terminal.screen import Screen
from localllm.terminal.style import Line, Span, theme
from localllm.terminal.table import Table

_REDRAW = 0.1
"""Seconds between two drawings of the line."""


class Thinking(ABC):
    """Pieces in; lines out: final ones, and open ones."""

    @abstractmethod
    def add(self, text: str, n_tokens: int) -> tuple[list[Line], list[Line]]:
        """A piece: lines that are final now, and those that may change."""

    @abstractmethod
    def end(self) -> list[Line]:
        """It is over: the last lines, with an empty one."""


class Unfolded(Thinking):
    """The text, beside a bar."""

    def __init__(self, screen: Screen) -> None:
        styles = theme(screen.colours, screen.can_redraw)
        bar = [Span("│ " if screen.unicode else "| ", styles.dim)]
        self._out: list[Line] = []
        page = Page(
            styles, screen.unicode, lambda: screen.width - 1, lambda: screen.height, self._out.append, Table
        )  # fmt: skip
        self._leaf = Literal(page, bar, bar, styles.dim)
        self._n_newlines = 0
        self._is_empty = True

    def add(self, text: str, n_tokens: int) -> tuple[list[Line], list[Line]]:
        for i, part in enumerate(text.split("\n")):
            self._n_newlines += i > 0
            if part.strip() or (part and not self._n_newlines and not self._is_empty):
                self._add(part.expandtabs(4))
        return self._taken(), self._leaf.tentative()

    def end(self) -> list[Line]:
        self._leaf.close()
        return [*self._taken(), []]

    def _add(self, part: str) -> None:
        """A piece of a line. Newlines wait for the text behind them: there are none at the beginning and the end."""
        if not self._is_empty:
            for _ in range(min(self._n_newlines, 2)):
                self._leaf.end_line()
        self._n_newlines, self._is_empty = 0, False
        self._leaf.append(part)

    def _taken(self) -> list[Line]:
        lines = list(self._out)
        self._out.clear()
        return lines


class Folded(Thinking):
    """One line: how long, and how many tokens."""

    def __init__(self, screen: Screen, show_command: str = "") -> None:
        self._style = theme(screen.colours, screen.can_redraw).dim
        self._dots = "…" if screen.unicode else "..."
        self._command = f" ({show_command})" if show_command else ""
        self._begun = time.monotonic()
        self._next = 0.0
        self._n_tokens = 0
        self._line: Line = []

    def add(self, text: str, n_tokens: int) -> tuple[list[Line], list[Line]]:
        now = time.monotonic()
        self._n_tokens += n_tokens
        if now >= self._next:
            self._next = now + _REDRAW
            seconds = int(now - self._begun)
            self._line = [Span(f"thinking{self._dots} {seconds} s, {self._n_tokens} tokens", self._style)]
        return [], [self._line]

    def end(self) -> list[Line]:
        seconds = round(time.monotonic() - self._begun)
        return [[Span(f"thought for {seconds} s, {self._n_tokens} tokens{self._command}", self._style)], []]

"""Lines for the reader on stderr: stdout carries what the model says, and nothing else."""

from __future__ import annotations

import sys
import time

import click

from localllm.terminal.progress import Progress
from localllm.terminal.safe import visible
from localllm.terminal.screen import Screen


def note(text: str) -> None:
    """A line, dim on a terminal that has colours."""
    screen = Screen(sys.stderr)
    text = visible(text, screen.unicode)  # what people and models wrote must not control the terminal
    if screen.colours:
        text = click.style(text, dim=True)
    click.echo(text, err=True)


class ReadingProgress:
    """How far a long prompt is read: one line on a terminal's stderr, which is cleared afterwards."""

    patience = 0.3
    """Seconds before the line appears."""

    def __init__(self) -> None:
        self._progress = Progress(unit="tokens")
        self._progress.patience = 0.5
        self._begun: float | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        if done < total and (now - self._begun >= self.patience or total - done > 1024):
            self._progress("reading", done, total)

    def clear(self) -> None:
        """The prompt is read."""
        self._progress.clear()
        self._begun = None

"""Lines for the reader on stderr: stdout carries what the model says, and nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

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

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun, self._first, self._width = 0.0, -1, 0

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._first < 0:
            self._begun, self._first = now, done
        if done < total and (now - self._begun >= self.patience or total - done > 1024):
            self._show(f"reading {done:,}/{total:,} tokens{self._rate(done, total, now - self._begun)}")

    def _rate(self, done: int, total: int, seconds: float) -> str:
        if done <= self._first or not seconds:
            return ""
        rate = (done - self._first) / seconds
        left = round((total - done) / rate)
        return f", {rate:.1f} t/s, {left // 60}:{left % 60:02} left"

    def _show(self, line: str) -> None:
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)

    def clear(self) -> None:
        """The prompt is read."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
        self._first, self._width = -1, 0

"""How far long work is: one line that is drawn again on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from localllm.terminal.safe import visible
from localllm.terminal.screen import Screen
from localllm.terminal.width import cut, width

_BAR = 20
"""Columns."""
_FIRST_RATE = 0.5
"""Seconds before a rate is told."""
_INTERRUPT = len("^C")
"""Columns that the terminal itself writes behind the line when Ctrl-C is typed."""
_REDRAW = 0.1
"""Seconds between two drawings of a download, which reports often."""


class Progress:
    """Callable as progress(text, done, total); a context manager, which clears the line at its end.

    A total of 0 is a message of its own; None says that the total is not known. After a few seconds the time left is
    told. When done reaches the total, the line on the terminal is cleared. In bytes there are a bar and the rate, too;
    with a unit, the rate.
    """

    interval = 5.0
    """Seconds between lines where there is no terminal."""
    patience = 3.0
    """Seconds before the time left is told."""

    def __init__(self, stream: TextIO | None = None, in_bytes: bool = False, unit: str = "") -> None:
        """stream: standard error. unit: of what is counted, in the plural: "tokens"."""
        self._screen = Screen(sys.stderr if stream is None else stream)
        self._in_bytes, self._unit = in_bytes, unit
        self._width = 0
        """Columns of the line that stands on the terminal."""
        self._next = 0.0
        self._text: str | None = None
        self._total: int | None = None
        self._first = self._last = 0
        self._begun = 0.0

    def __call__(self, text: str, done: int, total: int | None) -> None:
        if total == 0:
            self._message(text)
            return
        now = time.monotonic()
        new = self._begin_if_new(text, done, total, now)
        self._last = done
        is_done = total is not None and done >= total
        if not self._screen.is_terminal:
            if new or is_done or now >= self._next:
                self._next = now + self.interval
                self._screen.write(f"{self._line(text, done, total, now, 0)}\n")
            return
        if self._in_bytes and not new and not is_done and now < self._next:
            return
        self._next = now + _REDRAW
        self._draw(self._line(text, done, total, now, _BAR if self._in_bytes else 0))
        if is_done:
            self.clear()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Take the line away from the terminal."""
        if self._width:
            self._screen.write("\r" + " " * (self._width + _INTERRUPT) + "\r")
            self._width = 0

    def _message(self, text: str) -> None:
        self.clear()
        self._screen.write(f"{visible(text, self._screen.unicode)}\n")

    def _begin_if_new(self, text: str, done: int, total: int | None, now: float) -> bool:
        """Whether other work is reported than before: another total, fewer done, in bytes another name."""
        same = self._text is not None and total == self._total and done >= self._last
        if same and (text == self._text or not self._in_bytes):
            return False
        is_first = self._text is None
        self._text, self._total, self._first, self._begun = text, total, done, now
        return is_first or self._in_bytes

    def _draw(self, line: str) -> None:
        line = cut(visible(line, self._screen.unicode), self._screen.width - 1 - _INTERRUPT)
        n = width(line)
        self._screen.write("\r" + line + " " * (self._width - n))
        self._width = max(self._width, n)

    def _line(self, text: str, done: int, total: int | None, now: float, bar: int) -> str:
        if not self._in_bytes:
            return f"{text}: {self._count(done, total, now)}{self._left(done, total, now)}"
        size = megabytes(done) if total is None else f"{done / 1e6:.0f} of {megabytes(total)}"
        return f"{text}: {self._bar(done, total, bar)}{size}{self._rate(done, now)}{self._left(done, total, now)}"

    def _count(self, done: int, total: int | None, now: float) -> str:
        comma = "," if self._unit else ""
        count = f"{done:{comma}}" if total is None else f"{done:{comma}}/{total:{comma}}"
        if not self._unit:
            return count
        seconds = now - self._begun
        rate = f", {(done - self._first) / seconds:.1f} {self._unit[0]}/s" if seconds > _FIRST_RATE else ""
        return f"{count} {self._unit}{rate}"

    def _bar(self, done: int, total: int | None, width: int) -> str:
        if not width or total is None:
            return ""
        full, empty = "━─" if self._screen.unicode else "#."
        part = min(done, total) * width // total
        return f"{full * part}{empty * (width - part)} "

    def _rate(self, done: int, now: float) -> str:
        return f", {megabytes((done - self._first) / (now - self._begun))}/s" if now - self._begun > _FIRST_RATE else ""

    def _left(self, done: int, total: int | None, now: float) -> str:
        if total is None or not self._first < done < total or now - self._begun < self.patience:
            return ""
        seconds = round((now - self._begun) / (done - self._first) * (total - done))
        hours, minutes = seconds // 3600, seconds // 60
        clock = f"{hours}:{minutes % 60:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
        return f", {clock} left"


def megabytes(n_bytes: float) -> str:
    """ "12 MB"; below 10 MB with a decimal."""
    return f"{n_bytes / 1e6:.{0 if n_bytes >= 1e7 else 1}f} MB"

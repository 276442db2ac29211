"""The progress of a download: a bar on a terminal, a line now and then elsewhere. Standard error alone."""

from __future__ import annotations

import math
import sys
import time
from typing import Any


class Bar:
    """Callable as progress(text, done, total), in bytes; a total of 0 is a message alone. A context manager."""

    interval = 5.0
    """Seconds between lines where there is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._text = ""
        self._next_line = 0.0

    def __call__(self, text: str, done: int, total: int) -> None:
        if not total:
            print(text, file=sys.stderr, flush=True)
        elif sys.stderr.isatty():
            self._draw(text, done, total)
        else:
            self._line(text, done, total)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _draw(self, text: str, done: int, total: int) -> None:
        if self._bar is None or text != self._text:
            from tqdm import tqdm

            self.__exit__()
            self._bar = tqdm(desc=text, total=total, unit="B", unit_scale=True, file=sys.stderr, dynamic_ncols=True)
            self._text = text
        self._bar.update(min(done, total) - self._bar.n)

    def _line(self, text: str, done: int, total: int) -> None:
        now = time.monotonic()
        if text == self._text and now < self._next_line:
            return
        self._text = text
        self._next_line = now + self.interval if done < total else math.inf
        print(f"{text}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", file=sys.stderr, flush=True)

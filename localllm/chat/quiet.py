"""A terminal that does not show what is typed while an answer is written: it waits for the next prompt."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Standard input's echo is off while it lasts. Nothing is done where there is no terminal, and on Windows."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios

    fd = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(fd)
        silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        termios.tcsetattr(fd, termios.TCSADRAIN, silent)
    except termios.error:  # a terminal that is not ours to change
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def typed_ahead(fd: int) -> str:
    """Whole lines that were typed on a terminal before a prompt, as their keys: the terminal itself made a line feed of
    each Enter, which an editor takes for Ctrl-J. A line that is not ended waits."""
    if sys.platform == "win32" or not os.isatty(fd):
        return ""
    lines = bytearray()
    while select.select([fd], [], [], 0)[0]:
        line = os.read(fd, 1 << 16)
        lines += line
        if not line:  # Ctrl-D
            lines += b"\x04"
            break
    return lines.decode("utf-8", "replace").replace("\n", "\r")

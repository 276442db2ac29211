"""What a stream shows on: its size, colours, characters, and whether what stands there can be drawn again.

Variables that are honoured: NO_COLOR (https://no-color.org), FORCE_COLOR and CLICOLOR_FORCE (colours of a terminal that
does not name itself; never escapes in a file or a pipe), TERM, COLORTERM, LC_ALL, LC_CTYPE, LANG, COLUMNS and LINES
where the terminal cannot be asked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TextIO

Size = Callable[[], tuple[int, int]]
"""Columns and lines, now."""

NO_COLOURS, BASIC, PALETTE, TRUE = 0, 16, 256, 1 << 24
"""Numbers of colours."""

_MIN_WIDTH = 4
_FORCED = {"0": NO_COLOURS, "false": NO_COLOURS, "2": PALETTE, "3": TRUE}
"""FORCE_COLOR's values as Node.js reads them; any other: BASIC at least."""


class Screen:
    """A stream with what is known of the terminal behind it. It has no state but that: several may share a stream."""

    def __init__(
        self, stream: TextIO | None = None, environment: Mapping[str, str] | None = None, size: Size | None = None
    ) -> None:
        """stream: standard output; environment: os.environ; size: asks the terminal, else COLUMNS and LINES, else
        80 by 24."""
        self.stream = sys.stdout if stream is None else stream
        env = os.environ if environment is None else environment
        self._size = size or (lambda: _size_of(self.stream, env))
        self.encoding = (getattr(self.stream, "encoding", None) or "utf-8").lower()
        self.is_terminal: bool = _is_terminal(self.stream)
        """Whether somebody reads along: only then anything but the text itself is written."""
        self.can_redraw = self.is_terminal and env.get("TERM") != "dumb" and _understands_escapes(self.stream)
        """Whether escape sequences are understood."""
        self.reflows = "XTERM_VERSION" not in env and env.get("TERM") != "linux"
        """Whether the terminal breaks its lines anew when it is resized, as all but xterm and consoles do."""
        self.colours = _colours(env) if self.can_redraw else NO_COLOURS
        """How many: 0, 16, 256 or 1 << 24."""
        self.unicode = self._can_encode("─│•…") and not _locale_is_c(env)
        """Whether lines, bullets and the like may be other than ASCII."""

    @property
    def width(self) -> int:
        """Columns. The terminal is asked each time, so that a resize counts from the next line on."""
        return max(_MIN_WIDTH, self._size()[0])

    @property
    def height(self) -> int:
        """Lines."""
        return max(2, self._size()[1])

    def write(self, text: str) -> None:
        """Write and flush. What the stream cannot encode becomes "?" on a terminal, and raises UnicodeEncodeError
        elsewhere."""
        self.stream.write(self.encodable(text) if self.is_terminal else text)
        self.stream.flush()

    def encodable(self, text: str) -> str:
        """The text with "?" for what the stream cannot encode."""
        if self.encoding.startswith("utf") or text.isascii():
            return text
        return text.encode(self.encoding, "replace").decode(self.encoding)

    def _can_encode(self, text: str) -> bool:
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # no file, or closed
        return False


def _size_of(stream: TextIO, env: Mapping[str, str]) -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (AttributeError, ValueError, OSError):
        columns = lines = 0
    return columns or _number(env.get("COLUMNS"), 80), lines or _number(env.get("LINES"), 24)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and 0 < int(text) < 10_000 else default


def _colours(env: Mapping[str, str]) -> int:
    if env.get("NO_COLOR"):
        return NO_COLOURS
    forced = env.get("FORCE_COLOR", "").lower()
    if forced in _FORCED:
        return _FORCED[forced]
    found = _named_colours(env)
    if forced or env.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return max(found, BASIC)
    return found


def _named_colours(env: Mapping[str, str]) -> int:
    term = env.get("TERM", "")
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        return TRUE
    if sys.platform == "win32" and not term:
        return TRUE
    if "256color" in term:
        return PALETTE
    return BASIC if term and not term.startswith(("vt1", "vt2")) else NO_COLOURS


def _locale_is_c(env: Mapping[str, str]) -> bool:
    """Whether the user asked for the locale C. Where they did, Python itself sets LC_CTYPE=C.UTF-8 (PEP 538)."""
    if sys.platform == "win32":
        return False
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = env.get(name)
        if value and not (name == "LC_CTYPE" and value == "C.UTF-8"):
            return value in ("C", "POSIX")
    return False


def _understands_escapes(stream: TextIO) -> bool:
    """On Windows, switch the console to escape sequences (SetConsoleMode with ENABLE_VIRTUAL_TERMINAL_PROCESSING, which
    Windows 10 brought); False where it refuses."""
    if sys.platform != "win32":
        return True
    import ctypes
    import msvcrt

    kernel32 = ctypes.windll.kernel32
    try:
        handle = msvcrt.get_osfhandle(stream.fileno())
    except (AttributeError, ValueError, OSError):
        return True  # no console of its own: who made it a terminal knows what it understands
    mode = ctypes.c_ulong()
    if not kernel32.GetConsoleMode(handle, ctypes.byref(mode)):
        return False
    return bool(kernel32.SetConsoleMode(handle, mode.value | 0x0004))

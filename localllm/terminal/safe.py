"""Text that cannot control a terminal: control characters and what turns the order of text around are made visible."""

from __future__ import annotations

import re

from localllm.terminal.screen import Screen

_ORDER = "\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides and isolates of the bidirectional algorithm; marks of direction are left alone."""
_DANGER = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_ORDER}\ufff9-\ufffb\ud800-\udfff]")


def visible(text: str, unicode: bool = True) -> str:
    """The text with every control character but newline and tab replaced: ESC by "␛" ("^[" without unicode), others by
    "<U+009B>". A carriage return before a newline goes; lone surrogates become U+FFFD, or "?" without unicode."""
    if not _DANGER.search(text):
        return text
    replace = _picture if unicode else _caret
    return _DANGER.sub(replace, text.replace("\r\n", "\n"))


def json_safe(text: str) -> str:
    """JSON with "\\u009b" for what would control a terminal: the same values for whoever reads it."""
    return _DANGER.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return "\ufffd" if 0xD800 <= code < 0xE000 else _number(code)


def _caret(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20 or code == 0x7F:
        return "^" + chr(code ^ 0x40)
    return "?" if 0xD800 <= code < 0xE000 else _number(code)


def _number(code: int) -> str:
    return f"<U+{code:04X}>"


class Cleaner:
    """`visible` for a text in pieces, with "?" for what the screen cannot show.

    A carriage return at the end of a piece may belong to a newline of the next."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._waits = ""

    def clean(self, text: str) -> str:
        """A piece, made visible."""
        text = self._waits + text
        self._waits = "\r" if text.endswith("\r") else ""
        return self._visible(text.removesuffix("\r") if self._waits else text)

    def end(self) -> str:
        """What still waits."""
        text, self._waits = self._waits, ""
        return self._visible(text)

    def _visible(self, text: str) -> str:
        return self._screen.encodable(visible(text, self._screen.unicode))

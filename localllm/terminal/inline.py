"""Markdown within a paragraph, by markdown-it: text to spans. HTML and formulas stay as they are written.

References to definitions elsewhere (`[text][1]`) are shown as written, since the definition may come last.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from localllm.terminal.safe import visible
from localllm.terminal.style import Span, Theme, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it import MarkdownIt
    from markdown_it.token import Token

NEWLINE = Span("\n")
"""Stands between lines of a paragraph."""
SPECIAL = re.compile(r"[\\`*_~\[\]<&!$\n]")
"""A text without one of these is the text that is shown."""

_RULES = ("emphasis", "strikethrough", "backticks", "escape", "link", "image", "autolink", "entity", "newline")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_FORMULA = re.compile(
    r"\\\(.+?\\\)|\\\[.+?\\\]|\$\$.+?\$\$|\$(?=[^\s$])(?:\\.|[^\\$\n])*?(?<=[^\s])\$(?!\d)",
    re.DOTALL,
)
"""The single dollar is Pandoc's rule (tex_math_dollars), within a line: prices are no formulas."""


def spans(text: str, theme: Theme, style: str = "", unicode: bool = True) -> list[Span]:
    """What the text of a paragraph, or of a part of it, is shown as; lines end with NEWLINE."""
    if not SPECIAL.search(text):
        return [Span(text, style)] if text else []
    parser = _parser()
    tokens: list[Token] = []
    parser.inline.parse(text, parser, {}, tokens)
    return _Painter(theme, style, unicode).paint(tokens)


class _Painter:
    """Tokens to spans."""

    def __init__(self, theme: Theme, style: str, unicode: bool) -> None:
        self._theme, self._style, self._unicode = theme, style, unicode
        self._outer: list[str] = []
        self._link = ("", 0)
        """The address, and where its text begins among the spans."""
        self._out: list[Span] = []

    def paint(self, tokens: Sequence[Token]) -> list[Span]:
        for token in tokens:
            _PAINT.get(token.type, _Painter._text)(self, token)
        return self._out

    def _add(self, text: str, style: str) -> None:
        if text:
            self._out.append(Span(visible(text, self._unicode).replace("\n", " "), style))

    def _text(self, token: Token) -> None:
        self._add(token.content, self._style)

    def _newline(self, _token: Token) -> None:
        self._out.append(NEWLINE)

    def _code(self, token: Token) -> None:
        marks = "`" if self._theme.marks_code else ""
        self._add(f"{marks}{token.content}{marks}", join(self._style, self._theme.code))

    def _open(self, token: Token) -> None:
        self._outer.append(self._style)
        self._style = join(self._style, getattr(self._theme, _STYLES[token.type]))

    def _close(self, _token: Token) -> None:
        self._style = self._outer.pop()

    def _open_link(self, token: Token) -> None:
        self._open(token)
        self._link = str(token.attrs["href"]), len(self._out)

    def _close_link(self, token: Token) -> None:
        self._close(token)
        address, begin = self._link
        self._address(address, "".join(span.text for span in self._out[begin:]))

    def _image(self, token: Token) -> None:
        self._add(token.content, join(self._style, self._theme.link))
        self._address(str(token.attrs["src"]), token.content)

    def _address(self, address: str, text: str) -> None:
        if address and address not in (text, f"mailto:{text}"):
            self._add(f" ({address})" if text else address, join(self._style, self._theme.dim))


_STYLES = {"strong_open": "strong", "em_open": "emphasis", "s_open": "strike", "link_open": "link"}
_PAINT: dict[str, Any] = {
    "softbreak": _Painter._newline,
    "hardbreak": _Painter._newline,
    "code_inline": _Painter._code,
    "image": _Painter._image,
    "strong_open": _Painter._open,
    "em_open": _Painter._open,
    "s_open": _Painter._open,
    "strong_close": _Painter._close,
    "em_close": _Painter._close,
    "s_close": _Painter._close,
    "link_open": _Painter._open_link,
    "link_close": _Painter._close_link,
}


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    """CommonMark's inline rules and strikethrough, without HTML, with formulas and <br>."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("zero").enable(list(_RULES))
    parser.inline.ruler.before("escape", "formula", _formula)
    parser.inline.ruler.before("autolink", "br", _line_break)
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]  # shown, not fetched
    return parser


def _formula(state: Any, silent: bool) -> bool:
    if state.src[state.pos] not in "\\$":
        return False
    found = _FORMULA.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        state.push("formula", "", 0).content = found[0]
    state.pos = found.end()
    return True


def _line_break(state: Any, silent: bool) -> bool:
    if state.src[state.pos] != "<":
        return False
    found = _BREAK.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = found.end()
    return True

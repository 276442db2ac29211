"""Code in colours, line by line, by pygments: each line is looked at once, and again only while a comment is open."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from localllm.terminal.style import Line, Span, Theme, put

if TYPE_CHECKING:
    from pygments.lexer import Lexer

LINE_LIMIT = 500
"""Characters; longer lines have no colours."""
_OPEN_LIMIT = 30
"""Lines that wait for the end of a comment."""
_COMMENTS = {
    "c", "cpp", "csharp", "css", "dart", "go", "groovy", "java", "javascript", "jsx", "kotlin", "objective-c", "php",
    "rust", "scala", "scss", "sql", "swift", "tsx", "typescript",
}  # fmt: skip
"""Languages whose comments are one expression in pygments, so that their first line alone does not show one."""
_EMBEDDED = {"script": "javascript", "style": "css"}
_INTO = re.compile(r"<(script|style)\b[^>]*>\s*$", re.IGNORECASE)
_STYLES = {
    "Comment": "comment", "Keyword": "keyword", "Keyword.Type": "kind", "Literal.String": "string",
    "Literal.Number": "number", "Name.Function": "name", "Name.Class": "kind", "Name.Decorator": "kind",
    "Name.Tag": "keyword", "Name.Attribute": "name", "Name.Exception": "kind", "Generic.Inserted": "string",
    "Generic.Deleted": "keyword", "Generic.Heading": "strong", "Generic.Subheading": "name", "Generic.Prompt": "dim",
    "Operator.Word": "keyword",
}  # fmt: skip
"""Types of tokens -> fields of Theme; their children are as they are."""


class Highlighter:
    """The lines of one block of code."""

    def __init__(self, language: str, theme: Theme) -> None:
        """language: as a fence names it; without colours, or for languages that are not known, lines stay plain."""
        self._theme = theme
        has_colours = bool(theme.keyword)
        self._outer = self._lexer = _lexer(language.lower()) if has_colours and language else None
        self._stack: tuple[str, ...] = ("root",)
        """The lexer's states where the lines begin that wait."""
        self._waiting: list[str] = []

    def line(self, text: str) -> list[Line]:
        """A line, without its end; the lines that are final now."""
        if self._lexer is None:
            return [[Span(text)] if text else []]
        if len(text) > LINE_LIMIT:
            return [*self.close(), [Span(text)]]
        if self._lexer is not self._outer and re.search(r"</(script|style)", text, re.IGNORECASE):
            out = self.close()
            self._enter(self._outer)
            return out + self.line(text)
        self._waiting.append(text)
        lines, stack, is_open = self._lex(self._waiting)
        if is_open and len(self._waiting) < _OPEN_LIMIT:
            return []
        self._waiting, self._stack = [], stack
        into = _INTO.search(text) if self._lexer.name == "HTML" else None
        if into:
            self._enter(_lexer(_EMBEDDED[into[1].lower()]))
        return lines

    def tentative(self, text: str) -> list[Line]:
        """The lines that wait, and one under way."""
        if self._lexer is None or len(text) > LINE_LIMIT:
            return [*self._waiting_lines(), [Span(text)] if text else []]
        return self._lex([*self._waiting, text])[0]

    def close(self) -> list[Line]:
        """The lines that wait."""
        lines = self._waiting_lines()
        self._waiting = []
        return lines

    def _waiting_lines(self) -> list[Line]:
        return self._lex(self._waiting)[0] if self._waiting else []

    def _enter(self, lexer: Lexer | None) -> None:
        self._lexer, self._stack = lexer, ("root",)

    def _lex(self, lines: list[str]) -> tuple[list[Line], tuple[str, ...], bool]:
        """Styled lines, the states behind them, and whether a comment is open there."""
        assert self._lexer
        tokens, stack = _tokens(self._lexer, "\n".join(lines) + "\n", self._stack)
        out: list[Line] = [[]]
        outside = ""
        for kind, text in tokens:
            style = getattr(self._theme, field) if (field := _field(kind)) else ""
            for i, part in enumerate(text.split("\n")):
                if i:
                    out.append([])
                if part:
                    put(out[-1], part, style)
            if field not in ("comment", "string"):
                outside += text
        del out[len(lines) :]
        return out, stack, self._is_open(tokens, outside)

    def _is_open(self, tokens: list[tuple[Any, str]], outside: str) -> bool:
        if not self._lexer or self._lexer.aliases[0] not in _COMMENTS:
            return False
        last = next((token for token in reversed(tokens) if token[1].strip()), None)
        unended = last and "Multiline" in str(last[0]) and not last[1].rstrip().endswith("*/")
        return bool(unended) or "/*" in outside


def _tokens(lexer: Lexer, text: str, stack: tuple[str, ...]) -> tuple[list[tuple[Any, str]], tuple[str, ...]]:
    """Tokens of a part of a text whose lexer is in these states, and the states behind it.

    Only the lexers that pygments builds of expressions have states that can be kept; others begin anew in each part.
    """
    from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer
    from pygments.token import Text

    try:
        if isinstance(lexer, RegexLexer):
            context = LexerContext(text, 0, list(stack))
            found = ExtendedRegexLexer.get_tokens_unprocessed(lexer, context=context)
            return [(kind, value) for _, kind, value in found], tuple(context.stack)
        return [(kind, value) for _, kind, value in lexer.get_tokens_unprocessed(text)], stack
    except Exception:  # 500 lexers, on whatever a model writes: without colours is better than without the code
        return [(Text, text)], stack


@lru_cache(maxsize=64)
def _field(kind: Any) -> str:
    """The field of Theme for a type of token, "" for none."""
    path = str(kind).split(".")[1:]
    while path:
        if ".".join(path) in _STYLES:
            return _STYLES[".".join(path)]
        path.pop()
    return ""


@lru_cache(maxsize=16)
def _lexer(language: str) -> Lexer | None:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language)
    except ClassNotFound:
        return None

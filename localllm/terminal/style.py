"""Styled text: lines of spans, and the styles by the number of colours.

A style is a string of SGR parameters (ECMA-48, 8.3.117), "" for none; styles are joined by `join`. Of 256 colours those
are used whose contrast is near 4:1 or better both on black and on white, as the background is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from localllm.terminal.screen import BASIC, NO_COLOURS


class Span(NamedTuple):
    """Text of one style."""

    text: str
    style: str = ""


Line = list[Span]


@dataclass(frozen=True)
class Theme:
    """What is shown how."""

    strong: str = "1"
    emphasis: str = "3"
    strike: str = "9"
    link: str = "4"
    title: str = "1;4"
    """Headings of the first level; `heading`: of the others."""
    heading: str = "1"
    dim: str = "2"
    """What stands beside the text: lines, bullets, addresses, thinking."""
    code: str = ""
    """Code within text."""
    keyword: str = ""
    string: str = ""
    comment: str = "2"
    number: str = ""
    name: str = ""
    """What is defined or called."""
    kind: str = ""
    """Types, classes, decorators."""
    marks_code: bool = False
    """Whether code within text keeps its backticks: where no colour tells it."""


_WITHOUT = Theme(marks_code=True)
_FEW = Theme(code="35", keyword="35", string="32")
_MANY = Theme(
    title="1;4;38;5;31", heading="1;38;5;31", dim="38;5;243", code="38;5;130", keyword="38;5;133", string="38;5;64",
    comment="38;5;243", number="38;5;130", name="38;5;31", kind="38;5;30",
)  # fmt: skip
_NO_ESCAPES = Theme("", "", "", "", "", "", "", comment="", marks_code=True)


def theme(colours: int, escapes: bool = True) -> Theme:
    """The styles for a number of colours; without escapes no style at all."""
    if not escapes:
        return _NO_ESCAPES
    if colours == NO_COLOURS:
        return _WITHOUT
    return _FEW if colours <= BASIC else _MANY


def join(outer: str, inner: str) -> str:
    """Both styles; where both have a colour, the inner one's."""
    return f"{outer};{inner}" if outer and inner else outer or inner


def text_of(line: Line) -> str:
    """Without styles."""
    return "".join(span.text for span in line)


def put(line: Line, text: str, style: str) -> None:
    """Add text at the end of a line; spans of one style are one."""
    if line and line[-1].style == style:
        line[-1] = Span(line[-1].text + text, style)
    else:
        line.append(Span(text, style))


def stripped(line: Line) -> Line:
    """Without the spaces at its end."""
    found = list(line)
    while found and not found[-1].text.rstrip(" "):
        found.pop()
    if found:
        found[-1] = Span(found[-1].text.rstrip(" "), found[-1].style)
    return found


def encode(line: Line) -> str:
    """With escape sequences; nothing is left switched on."""
    return "".join(f"\x1b[{span.style}m{span.text}\x1b[0m" if span.style else span.text for span in line)

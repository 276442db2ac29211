"""Blocks of code: lines as they are, so that they can be copied; the terminal breaks those that are too long."""

from __future__ import annotations

from localllm.terminal.highlight import Highlighter
from localllm.terminal.leaves import Leaf, Page
from localllm.terminal.style import Line, Span

_INDENT = Span("    ")


class Code(Leaf):
    """A block between fences, which are shown, or, without `fence`, an indented one."""

    def __init__(self, page: Page, first: Line, rest: Line, fence: str = "", info: str = "") -> None:
        """fence: what begins and ends the block, as "```"; info: the words behind it, the language first."""
        super().__init__(page, first, rest)
        self._fence = fence
        self._line = ""
        self._highlighter = Highlighter(info.split()[0].strip("{}.") if info.split() else "", page.theme)
        self._next = rest if fence else first
        if fence:
            page.out([*first, Span(fence + info, page.theme.dim)])

    def append(self, text: str) -> None:
        self._line += text

    def end_line(self) -> None:
        lines = self._highlighter.line(self._line)
        self._line = ""
        self._put(lines)

    def close(self) -> None:
        if self._line:
            self.end_line()
        self._put(self._highlighter.close())
        if self._fence:
            self.page.out([*self.rest, Span(self._fence, self.page.theme.dim)])

    def tentative(self) -> list[Line]:
        lines = self._highlighter.tentative(self._line)
        if not self._line:
            lines = lines[:-1]
        return [self._prefixed(line) for line in lines]

    def _put(self, lines: list[Line]) -> None:
        for line in lines:
            self.page.out(self._prefixed(line))
            self._next = self.rest

    def _prefixed(self, line: Line) -> Line:
        return [*self._next, *line] if self._fence else [*self._next, _INDENT, *line]

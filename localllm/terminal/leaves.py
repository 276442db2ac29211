"""What blocks hold, shown as it comes: paragraphs, headings, text as it is written."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from localllm.terminal.flow import Flow
from localllm.terminal.inline import NEWLINE
from localllm.terminal.style import Line, Span, Theme
from localllm.terminal.wrap import Wrapper


@dataclass(frozen=True)
class Page:
    """Where and how blocks are shown."""

    theme: Theme
    unicode: bool
    width: Callable[[], int]
    """Columns that lines may take, now."""
    height: Callable[[], int]
    """Rows of the screen, now."""
    out: Callable[[Line], None]
    """Takes a line that is final."""
    table: Callable[[Page, Line, Line, str], Leaf]
    """A table by its head."""


class Leaf(ABC):
    """A block that holds text and no blocks. Its text comes in pieces; a line's end by itself."""

    def __init__(self, page: Page, first: Line, rest: Line) -> None:
        """first, rest: what the first line, and all others, begin with: bars of quotes, bullets, indentation."""
        self.page, self.first, self.rest = page, first, rest

    @abstractmethod
    def append(self, text: str) -> None:
        """A piece of a line."""

    @abstractmethod
    def end_line(self) -> None:
        """The line is whole."""

    @abstractmethod
    def close(self) -> None:
        """The block is whole: all of it goes out."""

    @abstractmethod
    def tentative(self) -> list[Line]:
        """The lines that are not out yet, as they look now."""


class Inline(Leaf):
    """Text with emphasis, code and links, in words."""

    def __init__(self, page: Page, first: Line, rest: Line, style: str = "") -> None:
        super().__init__(page, first, rest)
        self._wrapper = Wrapper(first, rest, page.width())
        self._flow = Flow(page.theme, style, page.unicode)
        self._ended = False
        """Whether a line's end waits for the line that follows it."""

    def append(self, text: str) -> None:
        if self._ended:
            text, self._ended = "\n" + text, False
        self._wrapper.resize(self.page.width())
        self._put(lay(self._wrapper, self._flow.append(text)))

    def end_line(self) -> None:
        self._ended = True

    def close(self) -> None:
        self._put(lay(self._wrapper, self._flow.close()))
        self._put(self._wrapper.newline())

    def tentative(self) -> list[Line]:
        wrapper = self._wrapper.copy()
        lines = lay(wrapper, self._flow.tentative())
        return lines + wrapper.under_way()

    def _put(self, lines: list[Line]) -> None:
        for line in lines:
            self.page.out(line)


class Heading(Inline):
    """A heading in one line; the number signs that may end it are not shown."""

    def __init__(self, page: Page, first: Line, rest: Line, level: int) -> None:
        super().__init__(page, first, rest, page.theme.title if level == 1 else page.theme.heading)
        self._end = ""
        """Number signs and spaces that may be the end."""
        self._is_empty = True

    def append(self, text: str) -> None:
        text = self._end + text
        shown = text.rstrip("# ")
        self._end = text[len(shown) :]
        if shown:
            super().append(shown)
            self._is_empty = False

    def end_line(self) -> None:
        pass  # its only one

    def close(self) -> None:
        space = " *" if self._is_empty else " +"
        super().append(re.sub(f"^(.*?){space}#+ *$", r"\1", self._end).rstrip(" "))
        super().close()


class Paragraph(Inline):
    """A paragraph. Its last line may turn out to be a table's head, and its first to be a heading: so far as that can
    be, its lines are held back from what is final."""

    heading_limit = 200
    """Characters of a line that may be underlined as a heading."""
    head_limit = 600
    """Characters of a line that may be the head of a table."""

    def __init__(self, page: Page, first: Line, rest: Line) -> None:
        super().__init__(page, first, rest)
        self._n_lines = 1
        self._line = ""
        self._held: list[Line] = []
        """What is final but for what the line may turn out to be."""
        self._before = self._wrapper.copy(), self._flow.copy()
        """As it was before the line."""

    @property
    def may_be_heading(self) -> bool:
        return self._n_lines == 1 and len(self._line) <= self.heading_limit

    @property
    def head(self) -> str:
        """The last line, if it may be a table's head; else ""."""
        line = self._line
        may_be = "|" in line[: self.heading_limit] and len(line) <= self.head_limit and not line.startswith("    ")
        return self._line if may_be else ""

    @property
    def text(self) -> str:
        """The last line."""
        return self._line

    def append(self, text: str) -> None:
        if self._ended:
            self._release()
            self._n_lines += 1
            self._line = ""
            self._before = self._wrapper.copy(), self._flow.copy()
        self._line += text[: self.head_limit + 1 - len(self._line)] if len(self._line) <= self.head_limit else ""
        super().append(text)
        if len(self._line) > self.heading_limit and not self.head:
            self._release()

    def close(self) -> None:
        super().close()
        self._release()

    def withdraw(self) -> bool:
        """Take the last line back, which is something else, and close; whether the paragraph has other lines."""
        self._held.clear()
        self._wrapper, self._flow = self._before
        if self._n_lines > 1:
            self._ended = False
            self.close()
        return self._n_lines > 1

    def tentative(self) -> list[Line]:
        if self._n_lines == 1 and self.head.startswith("|"):
            return self.page.table(self.page, self.first, self.rest, self.head).tentative()
        return self._held + super().tentative()

    def _put(self, lines: list[Line]) -> None:
        self._held += lines

    def _release(self) -> None:
        held, self._held = self._held, []
        for line in held:
            self.page.out(line)


class Literal(Leaf):
    """Lines as they are written, broken by words: HTML, formulas, thinking."""

    def __init__(self, page: Page, first: Line, rest: Line, style: str = "") -> None:
        super().__init__(page, first, rest)
        self._wrapper = Wrapper(first, rest, page.width(), keep_spaces=True)
        self._style = style

    def append(self, text: str) -> None:
        self._wrapper.resize(self.page.width())
        for line in self._wrapper.add(text, self._style):
            self.page.out(line)

    def end_line(self) -> None:
        for line in self._wrapper.newline():
            self.page.out(line)

    def close(self) -> None:
        if not self._wrapper.is_blank:
            self.end_line()

    def tentative(self) -> list[Line]:
        return [] if self._wrapper.is_blank else self._wrapper.under_way()


def lay(wrapper: Wrapper, spans: list[Span]) -> list[Line]:
    """Spans into lines; those that they fill."""
    lines: list[Line] = []
    for span in spans:
        lines += wrapper.newline() if span is NEWLINE else wrapper.add(*span)
    return lines

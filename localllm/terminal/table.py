"""Tables: aligned columns, with a line below the head and no other.

While all of a table stands on the screen its columns grow with it; one that is longer than the screen keeps the widths
that it has then."""

from __future__ import annotations

import re

from localllm.terminal.flow import Flow
from localllm.terminal.inline import NEWLINE
from localllm.terminal.leaves import Leaf, Page, lay
from localllm.terminal.style import Line, Span, text_of
from localllm.terminal.width import most, width
from localllm.terminal.wrap import Wrapper

_GAP = "  "
_NARROWEST = 6
"""Columns of a cell that is broken; where there are fewer, each row is a list of its cells."""
_SPARE = 8
"""Columns by which each column is wider than it need be, when widths are fixed."""
_DELIMITER = re.compile(r" *:?-+:? *")
_BAR = re.compile(r"(?<!\\)((?:\\\\)*)\|")

Cell = list[Span]


def cells(row: str) -> list[str]:
    """The texts between the bars of a row (GFM 4.10)."""
    row = row.strip()
    parts = _BAR.split(row.removeprefix("|"))
    found = [parts[0]]
    for slashes, text in zip(parts[1::2], parts[2::2], strict=True):
        found[-1] += slashes
        found.append(text)
    if len(found) > 1 and not found[-1].strip():
        found.pop()
    return [cell.strip().replace("\\|", "|") for cell in found]


def is_delimiter(row: str, head: str) -> bool:
    """Whether a row is the one below the head of a table."""
    found = cells(row)
    return (
        "|" in head + row
        and row[:2] != "- "
        and all(map(_DELIMITER.fullmatch, found))
        and len(found) == len(cells(head))
    )


class Table(Leaf):
    """A table whose rows come one after the other."""

    def __init__(self, page: Page, first: Line, rest: Line, head: str, delimiter: str = "") -> None:
        super().__init__(page, first, rest)
        self._names = cells(head)
        self._n = len(self._names)
        marks = [(cell.startswith(":"), cell.endswith(":")) for cell in cells(delimiter)]
        self._sides = [_SIDES[mark] for mark in marks] if delimiter else ["left"] * self._n
        self._rows = [self._cells(head, style=page.theme.strong)]
        self._line = ""
        self._widths: list[int] | None = None
        """Of the columns, once they are fixed; empty where rows are lists."""
        self._drawn: tuple[object, list[Line]] = (None, [])
        """The lines of the whole rows, and what they were drawn for."""

    def append(self, text: str) -> None:
        self._line += text

    def end_line(self) -> None:
        row = self._cells(self._line)
        self._line = ""
        self._rows.append(row)
        if self._widths is not None:
            self._put(self._row_lines(row, self._widths, len(self._rows) - 1))
        elif len(self._lines(self._rows)) > self.page.height() - 2:
            self._fix()

    def close(self) -> None:
        if self._line:
            self.end_line()
        if self._widths is None:
            self._put(self._lines(self._rows))

    def tentative(self) -> list[Line]:
        new = [self._cells(self._line, is_whole=False)] if self._line else []
        if self._widths is not None:
            return self._row_lines(new[0], self._widths, len(self._rows)) if new else []
        return self._lines([*self._rows, *new])

    def _fix(self) -> None:
        """The rows so far are final, and so are the widths, with some room for what may come."""
        self._widths = self._layout(self._rows)
        free = max(0, self._room() - sum(self._widths)) // self._n
        self._widths = [columns + min(free, _SPARE) for columns in self._widths]
        self._put(self._whole_lines(self._widths, len(self._rows)))

    def _put(self, lines: list[Line]) -> None:
        for line in lines:
            self.page.out(line)

    def _cells(self, row: str, is_whole: bool = True, style: str = "") -> list[Cell]:
        texts = cells(row)
        texts[self._n - 1 :] = [" | ".join(texts[self._n - 1 :])] if len(texts) >= self._n else []
        found: list[Cell] = []
        for i, text in enumerate(texts):
            flow = Flow(self.page.theme, style, self.page.unicode)
            certain = flow.append(text)
            found.append(certain + (flow.close() if is_whole or i < len(texts) - 1 else flow.tentative()))
        return found + [[] for _ in range(self._n - len(texts))]

    def _room(self) -> int:
        return self.page.width() - most(text_of(self.rest)) - len(_GAP) * (self._n - 1)

    def _layout(self, rows: list[list[Cell]]) -> list[int]:
        """Widths of the columns: what they need, or, where that is too much, the widest ones alike. Empty: none fit."""
        needed = [max(1, *(_width(row[i]) for row in rows)) for i in range(self._n)]
        room = self._room()
        if sum(needed) <= room:
            return needed
        cap, left = room, room
        for i, need in enumerate(sorted(needed)):
            cap = left // (self._n - i)
            if need > cap:
                break
            left -= need
        return [min(need, cap) for need in needed] if cap >= _NARROWEST else []

    def _lines(self, rows: list[list[Cell]]) -> list[Line]:
        """All of the table. Of the rows that are whole, lines are kept for the next time."""
        widths = self._layout(rows)
        n_whole = len(self._rows)
        key = widths, n_whole, len(rows) > 1, self.page.width()
        if self._drawn[0] != key:
            self._drawn = key, self._whole_lines(widths, len(rows))
        lines = list(self._drawn[1])
        for i, row in enumerate(rows[n_whole:], n_whole):
            lines += self._row_lines(row, widths, i)
        return lines

    def _whole_lines(self, widths: list[int], n_rows: int) -> list[Line]:
        """The rows that are whole, of n_rows; the head is told with each row, where those are lists."""
        begin = 0 if widths else min(1, n_rows - 1)
        return [line for i, row in enumerate(self._rows[begin:], begin) for line in self._row_lines(row, widths, i)]

    def _row_lines(self, row: list[Cell], widths: list[int], number: int) -> list[Line]:
        if not widths:
            return self._list(row, number)
        columns = [_fill(cell, columns) for cell, columns in zip(row, widths, strict=True)]
        prefix, lines = self.rest if number else self.first, []
        for i in range(max(map(len, columns))):
            lines.append([*prefix, *self._across([column[i : i + 1] for column in columns], widths)])
            prefix = self.rest
        if not number:
            dash = "─" if self.page.unicode else "-"
            lines.append([*self.rest, Span(_GAP.join(dash * n for n in widths), self.page.theme.dim)])
        return lines

    def _across(self, parts: list[list[Line]], widths: list[int]) -> Line:
        line: Line = []
        for part, columns, side in zip(parts, widths, self._sides, strict=True):
            text = part[0] if part else []
            free = max(0, columns - width(text_of(text)))
            before = {"left": 0, "right": free, "center": free // 2}[side]
            line += [Span(" " * before), *text, Span(" " * (free - before) + _GAP)]
        while line and not line[-1].text.strip(" ") and not line[-1].style:
            line.pop()
        return [span for span in line if span.text]

    def _list(self, row: list[Cell], number: int) -> list[Line]:
        """A row where there is no room for columns: a line, or more, for each cell, with what the head says."""
        lines: list[Line] = [list(self.rest)] if number > 1 else []
        prefix = self.rest if number > 1 else self.first
        for name, cell in zip(self._rows[0] if number else row, row, strict=True):
            wrapper = Wrapper(prefix, [*self.rest, Span("  ")], self.page.width())
            label = [*name, Span(": ", self.page.theme.strong)] if number and name else []
            lines += lay(wrapper, [*label, *cell]) + wrapper.newline()
            prefix = self.rest
        return lines


_SIDES = {(False, False): "left", (True, False): "left", (False, True): "right", (True, True): "center"}


def _fill(cell: Cell, columns: int) -> list[Line]:
    """The lines of a cell."""
    wrapper = Wrapper([], [], columns)
    return lay(wrapper, cell) + wrapper.newline()


def _width(cell: Cell) -> int:
    widest, columns = 0, 0
    for span in cell:
        columns = 0 if span is NEWLINE else columns + most(span.text)
        widest = max(widest, columns)
    return widest

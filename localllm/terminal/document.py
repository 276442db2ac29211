"""Markdown as it comes, as lines of a terminal: CommonMark with tables, strikethrough and tasks.

What differs from CommonMark, mostly since what was written cannot be taken back: the items of a list are as far apart
as in the source; lines of a paragraph stay lines; HTML is text; definitions of references are shown; a heading that is
underlined has one line, of 200 characters at most.
"""

from __future__ import annotations

from localllm.terminal.code import Code
from localllm.terminal.containers import Container, ListKind, item, quote
from localllm.terminal.judge import NewItem, OpenBlock, Start, as_text, judge
from localllm.terminal.leaves import Heading, Leaf, Literal, Page, Paragraph
from localllm.terminal.screen import Screen
from localllm.terminal.starts import START_LIMIT
from localllm.terminal.style import Line, Span, stripped, text_of, theme
from localllm.terminal.table import Table

_RULE = 40
"""Columns of a horizontal rule, at most."""


class Document:
    """Text goes in, in pieces of any length; lines come out: final ones once, open ones as they look now."""

    def __init__(self, screen: Screen) -> None:
        self._out: list[Line] = []
        # A column is left free, since what a full line does to the cursor differs between terminals.
        self._page = Page(
            theme(screen.colours, screen.can_redraw), screen.unicode, lambda: screen.width - 1,
            lambda: screen.height, self._out.append, Table,
        )  # fmt: skip
        self._stack = [Container()]
        self._block: OpenBlock | None = None
        self._line = ""
        """The line under way, as long as it is not known what it is."""
        self._is_known = False
        self._has_text = False
        """Whether the line is one of the block's."""
        self._begins = False
        """Whether the block began with it."""
        self._text = ""
        """Of the line, what HTML and formulas took."""
        self._column = 0
        self._n_blank = 0
        """Blank lines since the last text."""
        self._is_empty = True
        self._after_table = False

    def feed(self, text: str) -> None:
        """A piece of the text, without control characters but newlines and tabs."""
        for i, part in enumerate(text.split("\n")):
            if i:
                self._end_line()
            if part:
                self._add(part)

    def close(self) -> None:
        """The text is over."""
        if self._line or self._is_known:
            self._end_line()
        self._close_block()
        self._pop(1)

    def final(self) -> list[Line]:
        """The lines that became final since the last call."""
        lines = list(self._out)
        self._out.clear()
        return lines

    def open_lines(self) -> list[Line]:
        """The lines of the block under way that may change."""
        return self._block.leaf.tentative() if self._block else []

    def _add(self, text: str) -> None:
        if "\t" in text:
            text = (" " * (self._column % 4) + text).expandtabs(4)[self._column % 4 :]
        self._column += len(text)
        if not self._is_known:
            room = START_LIMIT - len(self._line)
            self._line, text = self._line + text[:room], text[room:]
            self._judge(is_whole=False)
            if not self._is_known and len(self._line) == START_LIMIT:
                self._begin(as_text(self._line, self._stack, self._block))
        if text:
            self._append(text)

    def _judge(self, is_whole: bool) -> None:
        start = judge(self._line, is_whole, self._stack, self._block)
        if start:
            self._begin(start)

    def _append(self, text: str) -> None:
        """More of a line that is known."""
        if self._block:
            self._block.leaf.append(text)
            if self._block.kind in ("html", "formula"):
                self._text += text

    def _end_line(self) -> None:
        if not self._is_known:
            self._judge(is_whole=True)
        if self._block and self._has_text:
            self._after_line(self._block)
        self._line, self._is_known, self._text, self._column = "", False, "", 0

    def _after_line(self, block: OpenBlock) -> None:
        block.leaf.end_line()
        is_last = block.end and block.end.search(self._text)
        if block.kind == "heading" or (is_last and not (block.kind == "formula" and self._begins)):
            self._close_block()
        self._begins = False

    def _begin(self, start: Start) -> None:
        """What a line is has become known."""
        self._is_known = True
        self._has_text = start.kind not in _WITHOUT_TEXT
        _BEGIN.get(start.kind, Document._new_leaf)(self, start)

    def _blank(self, start: Start) -> None:
        if self._block and not (self._block.kind == "indented" and start.n_matched == len(self._stack)):
            self._close_block()
        if start.opens:
            self._open(start)
        else:
            self._pop(start.n_matched)
        self._n_blank += 1

    def _continue(self, start: Start) -> None:
        if self._block and self._block.kind == "indented":
            for _ in range(self._n_blank):
                self._block.leaf.end_line()
        self._n_blank = 0
        self._append(start.text)

    def _end_fence(self, _start: Start) -> None:
        self._close_block()

    def _underline(self, start: Start) -> None:
        if self._block and isinstance(self._block.leaf, Paragraph):
            leaf, self._block = self._block.leaf, None
            heading = Heading(self._page, leaf.first, leaf.rest, start.level)
            heading.append(leaf.text.rstrip(" "))
            heading.close()

    def _table(self, start: Start) -> None:
        if self._block and isinstance(self._block.leaf, Paragraph):
            leaf = self._block.leaf
            first, head = leaf.first, leaf.head
            if leaf.withdraw():
                first = leaf.rest
                self._out.append(stripped(leaf.rest))
            self._block = OpenBlock(Table(self._page, first, leaf.rest, head, start.text), "table")

    def _rule(self, start: Start) -> None:
        first, _ = self._open(start)
        dash = "─" if self._page.unicode else "-"
        n = min(_RULE, self._page.width() - len(text_of(first)))
        self._out.append([*first, Span(dash * max(3, n), self._page.theme.dim)])

    def _new_leaf(self, start: Start) -> None:
        first, rest = self._open(start)
        page, kind = self._page, start.kind
        fence, info, indent = start.fence
        leaf: Leaf
        if kind == "heading":
            leaf = Heading(page, first, rest, start.level)
        elif kind == "fence":
            leaf = Code(page, first, rest, fence, info)
        elif kind == "indented":
            leaf = Code(page, first, rest)
        elif kind == "paragraph":
            leaf = Paragraph(page, first, rest)
        else:
            leaf = Literal(page, first, rest)
        self._block = OpenBlock(leaf, kind, fence, indent, start.end)
        self._begins = True
        self._append(start.text)

    def _open(self, start: Start) -> tuple[Line, Line]:
        """Closes what does not go on, opens containers; what the first line of a block there begins with, and all
        others."""
        self._close_block()
        self._pop(start.n_matched)
        self._gap(start.kind == "heading" and not start.opens)
        if not start.opens and start.kind != "blank":
            self._stack[-1].last_list = None
        for new in start.opens:
            self._push(new)
        if start.kind == "blank":
            return [], []
        first = [span for c in self._stack for span in (c.rest if c.first is None else c.first)]
        for container in self._stack:
            container.first = None
        self._is_empty = False
        return first, [span for c in self._stack for span in c.rest]

    def _gap(self, is_wanted: bool) -> None:
        """A blank line where the source has some, and where it looks better."""
        begins = any(container.first is not None for container in self._stack)
        if not (self._is_empty or begins) and (self._n_blank or is_wanted or self._after_table):
            self._out.append(stripped([span for c in self._stack for span in c.rest]))
        self._n_blank, self._after_table = 0, False

    def _push(self, new: NewItem | None) -> None:
        parent = self._stack[-1]
        page = self._page
        if new is None:
            parent.last_list = None
            self._stack.append(quote(page.theme, page.unicode))
            return
        if parent.last_list is None or parent.last_list.mark != new.mark:
            parent.last_list = ListKind(new.mark, new.number)
        depth = sum(c.is_bullet for c in self._stack)
        container = item(parent.last_list, new.indent, depth, page.theme, page.unicode)
        if new.task and container.first:
            container.first = [*container.first, Span(new.task, page.theme.dim), Span(" ")]
        self._stack.append(container)

    def _pop(self, n: int) -> None:
        """Close all containers but n; an item that has no text is its bullet."""
        if len(self._stack) > n:
            self._close_block()
        while len(self._stack) > n:
            if self._stack[-1].first is not None:
                self._out.append(stripped([span for c in self._stack for span in c.first or c.rest]))
                for container in self._stack:
                    container.first = None
                self._is_empty = False
            self._stack.pop()

    def _close_block(self) -> None:
        if self._block:
            block, self._block = self._block, None
            block.leaf.close()
            self._after_table = isinstance(block.leaf, Table)


_WITHOUT_TEXT = {"blank", "fence", "end of fence", "underline", "table", "rule"}
_BEGIN = {
    "blank": Document._blank,
    "continue": Document._continue,
    "lazy": Document._continue,
    "end of fence": Document._end_fence,
    "underline": Document._underline,
    "table": Document._table,
    "rule": Document._rule,
}

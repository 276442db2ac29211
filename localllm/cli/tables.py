"""Tables of the verbs that look: aligned columns that fit the terminal; how long ago something was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localllm.terminal.safe import visible
from localllm.terminal.screen import Screen
from localllm.terminal.width import cut, width

_LEAST = 12
"""Columns that the first cell of a row keeps at least."""


def table(
    rows: list[list[str]], right: Sequence[int] = (), indent: str = "", narrow: Mapping[int, int] | None = None
) -> str:
    """Rows of cells as aligned columns. right: numbers of those that are flush right. narrow: where the terminal is not
    wide enough, what these columns must keep at least, the first one first; one that cannot keep it is left out, but
    for the first of the table, which is cut in the end. What is no terminal gets all."""
    rows = [list(map(one_line, row)) for row in rows]
    screen = Screen()
    widths = {i: max(width(row[i]) for row in rows) for i in range(len(rows[0]))}
    if screen.is_terminal and narrow is not None:
        widths = _fitting(widths, narrow, screen.width - len(indent))
    end = "…" if screen.unicode else "~"

    def line(row: list[str]) -> str:
        cells = (_fitted(row[i], columns, end, i in right) for i, columns in widths.items())
        return indent + "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in rows)


def _fitting(widths: dict[int, int], narrow: Mapping[int, int], room: int) -> dict[int, int]:
    """Widths of the columns that stay, which fit into the room if that can be."""
    kept = dict(widths)
    for i, least in (*narrow.items(), (0, _LEAST)):
        over = sum(kept.values()) + 2 * (len(kept) - 1) - room
        if over <= 0:
            break
        if i and kept[i] - over < least:
            del kept[i]
        else:
            kept[i] = min(kept[i], max(least, kept[i] - over))
    return kept


def one_line(text: str) -> str:
    """A text that neither breaks lines nor controls the terminal."""
    return visible(text.replace("\n", " ").replace("\t", " "))


def _fitted(text: str, columns: int, end: str, right: bool) -> str:
    """A text of just so many columns: cut, or filled up with spaces."""
    if width(text) > columns:
        text = cut(text, columns - 1) + end
    space = " " * (columns - width(text))
    return space + text if right else text + space


_SPANS = (
    (86400 * 365, "year"),
    (86400 * 30, "month"),
    (86400 * 7, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def ago(seconds: float) -> str:
    """How long ago something was: "3 hours ago"."""
    for span, name in _SPANS:
        count = int(seconds // span)
        if count >= 1:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"

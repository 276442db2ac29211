"""The last lines of a terminal, drawn again where they change; what was let go of is never touched again."""

from __future__ import annotations

from localllm.terminal.screen import Screen
from localllm.terminal.style import Line, Span, encode, text_of
from localllm.terminal.width import clusters, most


class Live:
    """Lines that are final go above, those that may change below; the cursor stays behind the last one."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._drawn: list[tuple[Line, int]] = []
        """Lines on the screen that may change, with the rows they take; the last one without an end."""
        self._left = 0
        """Of the lines that come next, how many stood on the screen and have scrolled away."""
        self._size = screen.width, screen.height

    def show(self, final: list[Line], open_lines: list[Line]) -> None:
        """Final lines stand for good; open ones replace those of the call before. More open lines than the screen has
        are shown from the end: all come when they are final."""
        self._look_at_size()
        n_final = max(0, len(final) - self._left)
        lines = [*final, *open_lines][self._left :]
        self._left = max(0, self._left - len(final))
        new = [(line, rows(text_of(line), self._size[0])) for line in lines]
        new = new[:n_final] + self._last_that_fit(new[n_final:])
        if n_final and len(new) == n_final:
            new.append(([], 1))  # the cursor waits at the beginning of the next line
        self._draw(new)
        self._drawn = new[n_final:]

    def end(self) -> None:
        """What was drawn stays; the cursor goes to the beginning of a line."""
        if self._drawn and self._drawn[-1][0]:
            self._screen.write("\r\n")
        self._drawn, self._left = [], 0

    def _draw(self, new: list[tuple[Line, int]]) -> None:
        drawn, same = self._drawn, 0
        while same < min(len(drawn), len(new)) and drawn[same][0] == new[same][0]:
            same += 1
        lines = [line for line, _ in new]
        if same == len(drawn):  # nothing changes, lines come
            out = "\r\n".join(["", *map(encode, lines[same:])] if drawn else map(encode, lines))
        elif same == len(drawn) - 1 < len(lines) and (added := _added(drawn[-1][0], lines[same])) is not None:
            out = "\r\n".join([encode(added), *map(encode, lines[same + 1 :])])
        else:
            same = min(same, max(0, len(lines) - 1))  # where lines go, the last that stays is drawn, too
            # Row by row: to erase all from the first row on would put the screen into tmux's history.
            out = "\r\x1b[K" + "\x1b[1A\x1b[K" * (sum(n for _, n in drawn[same:]) - 1)
            out += "\r\n".join(map(encode, lines[same:]))
        if out:
            self._screen.write(out)

    def _last_that_fit(self, lines: list[tuple[Line, int]]) -> list[tuple[Line, int]]:
        room = self._size[1] - 1
        for i in range(len(lines) - 1, -1, -1):
            room -= lines[i][1]
            if room < 0:
                return lines[i + 1 :]
        return lines

    def _look_at_size(self) -> None:
        """After a resize most terminals have broken the drawn lines anew, and rows may have scrolled away."""
        size = self._screen.width, self._screen.height
        if size == self._size:
            return
        self._size = size
        if self._screen.reflows:
            self._drawn = [(line, rows(text_of(line), size[0])) for line, _ in self._drawn]
        reachable = self._last_that_fit(self._drawn)
        self._left += len(self._drawn) - len(reachable)
        self._drawn = reachable


def rows(text: str, width: int) -> int:
    """Rows that a line takes on a terminal that breaks it where it must."""
    if most(text) <= width:
        return 1
    n, column = 1, 0
    for cluster in clusters(text):
        columns = most(cluster)
        if column + columns > width:
            n, column = n + 1, 0
        column += columns
    return n


def _added(before: Line, after: Line) -> Line | None:
    """What `after` has more than `before`; None where it is not the same line with more at its end."""
    n = len(before)
    if not n:
        return after
    if len(after) < n or after[: n - 1] != before[:-1]:
        return None
    old, new = before[-1], after[n - 1]
    if old.style != new.style or not new.text.startswith(old.text):
        return None
    rest = new.text[len(old.text) :]
    return ([Span(rest, new.style)] if rest else []) + after[n:]

"""A terminal in memory, by pyte: what is written to it, where it stands, and what has scrolled away."""

from __future__ import annotations

import unicodedata
from typing import TextIO, cast

import pyte
from wcwidth import wcwidth

from localllm.terminal.screen import Screen

NO_REFLOW = {"TERM": "xterm-256color", "XTERM_VERSION": "pyte"}
"""pyte's lines are cut, not broken anew, when it is resized."""


class _Screen(pyte.HistoryScreen):
    """A mark that combines with a character in the last column stays there; pyte begins a row first."""

    def draw(self, data):
        for char in data if any(map(unicodedata.combining, data)) else [data]:
            if unicodedata.combining(char[0]) and self.cursor.x == self.columns:
                row = self.buffer[self.cursor.y]
                last = row[self.columns - 1]
                row[self.columns - 1] = last._replace(data=unicodedata.normalize("NFC", last.data + char))
            else:
                super().draw(char)


class Terminal:
    """A stream that is a terminal."""

    encoding = "utf-8"

    def __init__(self, columns=80, lines=24):
        self.screen = _Screen(columns, lines, history=100_000, ratio=1)
        self._stream = pyte.Stream(self.screen)
        self.written = ""

    def isatty(self):
        return True

    def flush(self):
        pass

    def write(self, text):
        self.written += text
        text = text.replace("\ufe0f", " ")  # makes a narrow emoji a wide one, which pyte does not know
        # pyte gives up a text at what has no width and does not combine, such as a zero-width joiner
        self._stream.feed("".join(c for c in text if wcwidth(c) != 0 or unicodedata.combining(c) or c < " "))

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)

    def as_screen(self, **environment):
        return Screen(
            cast(TextIO, self), {**NO_REFLOW, **environment}, lambda: (self.screen.columns, self.screen.lines)
        )

    def rows(self):
        """All rows, those that scrolled away first, without spaces at their ends; and no empty ones at the end."""
        above = [self._text(row) for row in self.screen.history.top]
        return "\n".join([*above, *map(str.rstrip, self.screen.display)]).rstrip("\n").split("\n")

    def cells(self):
        """Of each row: characters with their attributes."""
        rows = [*self.screen.history.top, *(self.screen.buffer[i] for i in range(self.screen.lines))]
        found = [[tuple(row[i]) for i in range(self.screen.columns)] for row in rows]
        empty = tuple(self.screen.default_char)
        for row in found:
            while row and row[-1] == empty:
                row.pop()
        while found and not found[-1]:
            found.pop()
        return found

    def _text(self, row):
        text, i = "", 0
        while i < self.screen.columns:
            text += row[i].data
            i += 2 if row[i].data and wcwidth(row[i].data[0]) == 2 else 1
        return text.rstrip()

"""Lines broken by words, as the text comes."""

from __future__ import annotations

import re

from localllm.terminal.style import Line, Span, put, stripped
from localllm.terminal.width import attaches, clusters, is_wide, most

_PARTS = re.compile("( +)")
_WIDE = re.compile("[^\x00-\u10ff]")
_OPENS = "（「『【〈《〔［｛“‘"  # noqa: RUF001
_CLOSES = "）」』】〉》〕］｝”’、。，．：；！？…·ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ,.:;!?)]}"  # noqa: RUF001
"""What no line begins with, where it follows a wide character (the usual part of JIS X 4051)."""
_TAIL = 24
"""Code points in which the last cluster of a word is looked for."""


class Wrapper:
    """Breaks spans into lines.

    Breaks at spaces, and between wide characters; a word that is longer than a line is cut between clusters.
    """

    def __init__(self, first: Line, rest: Line, width: int, keep_spaces: bool = False) -> None:
        """first, rest: what the first line, and all others, begin with. width: columns, what they begin with included.
        keep_spaces: at the beginning of a line, too."""
        self.rest, self.width, self._keep_spaces = rest, width, keep_spaces
        self.is_empty = True
        """Whether the line under way has no text yet."""
        self._line: Line = list(first)
        self._room = self._columns(first)
        self._word: Line = []
        self._word_width = 0
        self._space: Span | None = None
        self._is_cut = False
        """Whether the word is the end of one whose beginning has its place."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing came since the last line ended."""
        return self.is_empty and not self._word

    def resize(self, width: int) -> None:
        """Another width, from the next line on, so that no word moves that stands; from this one on where it is less
        and the line has room."""
        room = self._room + width - self.width
        if 0 <= room < self._room:
            self._room = room
        self.width = width

    def copy(self) -> Wrapper:
        """One that goes on from here, for text that may yet change."""
        other = object.__new__(Wrapper)
        other.__dict__.update(self.__dict__, _line=list(self._line), _word=list(self._word))
        return other

    def add(self, text: str, style: str) -> list[Line]:
        """Lines that this text fills."""
        done: list[Line] = []
        for i, part in enumerate(_PARTS.split(text)):
            if i % 2:
                self._flush(done)
                self._space = Span((self._space.text if self._space else "") + part, style)
            elif not part:
                continue
            elif _WIDE.search(part):
                self._add_wide(part, style, done)
            else:
                if self._may_break_before(part[0]):
                    self._flush(done)
                self._extend(part, style, done)
        return done

    def newline(self) -> list[Line]:
        """The line ends here."""
        done: list[Line] = []
        self._flush(done)
        self._break(done)
        return done

    def under_way(self) -> list[Line]:
        """The line under way (two, where its last word no longer fits), as if the text ended here."""
        other = self.copy()
        done: list[Line] = []
        other._flush(done)
        return [*done, other._line]

    def _add_wide(self, part: str, style: str, done: list[Line]) -> None:
        for cluster in clusters(part):
            if self._may_break_before(cluster[0]):
                self._flush(done)
            self._extend(cluster, style, done)

    def _may_break_before(self, char: str) -> bool:
        if not self._word:
            return False
        last = self._last_cluster()
        if attaches(last, char) or char in _CLOSES or last in _OPENS:
            return False
        return is_wide(char) or any(map(is_wide, last))

    def _last_cluster(self) -> str:
        *_, last = clusters(self._word[-1].text[-_TAIL:])
        return last

    def _extend(self, text: str, style: str, done: list[Line]) -> None:
        put(self._word, text, style)
        self._word_width += most(text)
        if self._word_width > 2 * self.width:  # longer than any line: all but its last cluster has its place
            text, style = self._word.pop()
            last = (list(clusters(text[-_TAIL:])) or [""])[-1]
            put(self._word, text.removesuffix(last), style)
            self._flush(done)
            self._is_cut = True
            self._word, self._word_width = [Span(last, style)], most(last)

    def _flush(self, done: list[Line]) -> None:
        """The word is whole: put it on this line or the next one."""
        if not self._word:
            return
        space = len(self._space.text) if self._space else 0
        if self._is_cut or (self.is_empty and not self._keep_spaces):
            space = 0
        if self._word_width + space > self._room and not self.is_empty and not self._is_cut:
            self._break(done)
            space = 0
        if space and self._space:
            put(self._line, *self._space)
            self._room -= space
        self._space = None
        self._cut(done)
        self._word, self._word_width, self.is_empty, self._is_cut = [], 0, False, False

    def _cut(self, done: list[Line]) -> None:
        """The word on the line, and on others where it is longer."""
        if self._word_width <= self._room:
            for span in self._word:
                put(self._line, *span)
            self._room -= self._word_width
            return
        for text, style in self._word:
            if text.isascii():
                self._cut_ascii(text, style, done)
                continue
            for cluster in clusters(text):
                columns = most(cluster)
                if columns > self._room and not self.is_empty:
                    self._break(done)
                put(self._line, cluster, style)
                self._room -= columns
                self.is_empty = False

    def _cut_ascii(self, text: str, style: str, done: list[Line]) -> None:
        while text:
            if not self._room and not self.is_empty:
                self._break(done)
            n = max(1, self._room)
            put(self._line, text[:n], style)
            self._room -= len(text[:n])
            text, self.is_empty = text[n:], False

    def _break(self, done: list[Line]) -> None:
        done.append(stripped(self._line) if self.is_empty else self._line)
        self._line, self._room, self.is_empty = list(self.rest), self._columns(self.rest), True
        self._space = None

    def _columns(self, prefix: Line) -> int:
        return max(4, self.width - sum(most(span.text) for span in prefix))

"""The text of a paragraph as it comes: what is certain is let go, and only the rest is parsed again.

Text is certain up to a place where nothing is open that later text could close: no emphasis, code, link or formula. A
part without such a place within LIMIT characters is parsed on its own, too, so that the work is bounded: what is opened
there and closed later is taken literally. Places depend on the text alone, not on the pieces in which it comes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from localllm.terminal.inline import SPECIAL, spans
from localllm.terminal.style import Span, Theme

LIMIT = 800
"""Characters of text that may be parsed again and again."""

_DEPTH = 12
"""Marks that may be open; with more of them the text is cut, too."""
_TOKEN = re.compile(r"\\\n|\\[!-/:-@\[-`{-~]|`+|\*+|_+|~+|\[|\]\(?|\(|\)|\$+|\\|<br\s*/?>", re.IGNORECASE)
_TAIL = re.compile(r"(?:[*_~`$\\]|\]\(?|<[a-z/]*)+$")
"""What the text may not end with on the screen, as it is half of something."""
_FORMULAS = {"\\(": "\\)", "\\[": "\\]", "$": "$", "$$": "$$"}


@dataclass
class _Open:
    """What is open at a place of the text: marks, the innermost last."""

    marks: list[str] = field(default_factory=list)

    def take(self, mark: str, before: str, after: str) -> None:
        """Go on by one token that stands between two characters."""
        top = self.marks[-1] if self.marks else ""
        if top[:1] == "`" or top in _FORMULAS:
            closes = mark == _FORMULAS[top] if top in _FORMULAS else mark.removeprefix("\\") == top
            if closes and not (mark == "$" and (before.isspace() or after.isdigit())):
                self.marks.pop()
        elif mark[0] == "`" or mark in _FORMULAS:
            if mark != "$" or not (after.isspace() or after.isdigit()):
                self.marks.append(mark)
        elif mark[0] in "*_" or mark[:2] == "~~":
            self._emphasis(mark, before, after)
        elif mark == "[":
            self.marks.append(mark)
        elif mark in ("]", "]("):
            self._bracket(mark)
        elif mark == "(" and top == "(":
            self.marks.append(mark)
        elif mark == ")" and top == "(":
            self.marks.pop()

    def end_line(self) -> None:
        """A formula between single dollars ends with its line, at the latest."""
        if self.marks[-1:] == ["$"]:
            self.marks.pop()

    def _bracket(self, mark: str) -> None:
        if "[" in self.marks:
            del self.marks[len(self.marks) - 1 - self.marks[::-1].index("[") :]
            if mark == "](":
                self.marks.append("(")

    def _emphasis(self, mark: str, before: str, after: str) -> None:
        """CommonMark 0.31, 6.2: which runs can open, which can close."""
        left = not after.isspace() and (_is_letter(after) or before.isspace() or not _is_letter(before))
        right = not before.isspace() and (_is_letter(before) or after.isspace() or not _is_letter(after))
        opens = left and (mark[0] != "_" or not right or not _is_letter(before))
        closes = right and (mark[0] != "_" or not left or not _is_letter(after))
        length = len(mark)
        while closes and length:
            found = [i for i, open_ in enumerate(self.marks) if open_[0] == mark[0]]
            if not found:
                break
            open_ = self.marks[found[-1]]
            used = min(length, len(open_))
            length -= used
            del self.marks[found[-1] :]
            if len(open_) > used:
                self.marks.append(open_[used:])
        if opens and length:
            self.marks.append(mark[0] * length)

    def closers(self) -> str:
        """What closes all that is open, so that it is shown as what it will most likely be."""
        return "".join(_closer(mark) for mark in reversed(self.marks))


def _closer(mark: str) -> str:
    return ")" if mark == "(" else mark if mark[0] in "*_~`" else ""


def _is_letter(char: str) -> bool:
    """Neither space nor punctuation."""
    return char.isalnum() or not (char.isspace() or unicodedata.category(char)[0] in "PS")


class Flow:
    """Text in, spans out."""

    def __init__(self, theme: Theme, style: str = "", unicode: bool = True) -> None:
        self._theme, self._style, self._unicode = theme, style, unicode
        self._text = ""
        """What is not certain yet."""
        self._at = 0
        """How much of it was looked at."""
        self._open = _Open()

    def append(self, text: str) -> list[Span]:
        """What has become certain by more text."""
        self._text += text
        return self._take(self._scan())

    def close(self) -> list[Span]:
        """The rest, when no more comes."""
        return self._take([len(self._text)])

    def copy(self) -> Flow:
        """One that goes on from here."""
        other = Flow(self._theme, self._style, self._unicode)
        other._text, other._at, other._open = self._text, self._at, _Open(list(self._open.marks))
        return other

    def tentative(self) -> list[Span]:
        """The rest, as it looks now: what is open is closed, and half a mark at the end is not shown."""
        text = self._text
        if not SPECIAL.search(text):
            return self._spans(text)
        text = _TAIL.sub("", text)
        open_ = _Open(list(self._open.marks))
        for match in _TOKEN.finditer(text, min(self._at, len(text))):
            open_.take(match[0], *_beside(text, match))
        closers = open_.closers()
        return self._spans(text.rstrip() + closers if closers else text)

    def _spans(self, text: str) -> list[Span]:
        return spans(text, self._theme, self._style, self._unicode)

    def _take(self, cuts: list[int]) -> list[Span]:
        out: list[Span] = []
        begin = 0
        for cut in cuts:
            out += self._spans(self._text[begin:cut])
            begin = cut
        self._text, self._at = self._text[begin:], max(0, self._at - begin)
        return out

    def _scan(self) -> list[int]:
        """Looks at what can be judged, all but the last character: the places where the text can be cut."""
        text, start, cuts = self._text, 0, []
        while True:
            match = _TOKEN.search(text, self._at)
            end = min(match.start() if match else len(text), len(text) - 1)
            if "\n" in text[self._at : end]:
                self._open.end_line()
            place = None if self._open.marks else self._last_place(self._at, min(end, start + LIMIT))
            if place is not None and place > start:
                cuts.append(place)
                start = place
                if end - start > LIMIT:
                    self._at = start
                    continue
            if end - start >= LIMIT:
                start = self._forced(start)
                cuts.append(start)
                self._at, self._open = start, _Open()
                continue
            if not match or match.end() >= len(text):
                self._at = max(self._at, end)
                return cuts
            self._open.take(match[0], *_beside(text, match))
            self._at = match.end()
            if len(self._open.marks) > _DEPTH:
                start = self._at
                cuts.append(start)
                self._open = _Open()

    def _last_place(self, begin: int, end: int) -> int | None:
        """The last place for a cut behind `begin`, not behind `end`."""
        if end <= begin:
            return None
        for i in range(end - 1, begin - 1, -1):
            if self._text[i].isspace():
                return i
            if _is_cjk(self._text[i]) and _is_cjk(self._text[i + 1]):
                return i + 1
        return None

    def _forced(self, start: int) -> int:
        """Where the text is cut when nothing else is left: not beside a mark, if that can be."""
        for cut in range(start + LIMIT, start + LIMIT // 2, -1):
            if not _TOKEN.search(self._text[cut - 1 : cut + 1]):
                return cut
        return start + LIMIT


def _is_cjk(char: str) -> bool:
    """Whether it is a letter of Chinese, Japanese or Korean: between two of them text can be cut as at a space."""
    return char >= "\u3040" and (char <= "\u9fff" or "\uac00" <= char <= "\ud7af") and char.isalnum()


def _beside(text: str, match: re.Match[str]) -> tuple[str, str]:
    before = text[match.start() - 1] if match.start() else " "
    after = text[match.end()] if match.end() < len(text) else " "
    return before, after

"""Reading a text that is still being written.

Parsers are generators: where they cannot go on before more of the text is known they yield, and whoever feeds the
reader resumes them. A parser thus reads like one of a whole text, and finds the same whatever pieces the text came in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import regex

T = TypeVar("T")
Step = Generator[None, None, T]
"""A part of a parser, which comes to a T."""
Put = Callable[[str], None]
"""Takes a piece of text that is certain."""

_SPACE = re.compile(r"\s*")


class Markers:
    """Some texts that are looked for at once."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(sorted({t for t in texts if t}, key=len, reverse=True))
        self._find = re.compile("|".join(map(re.escape, self.texts))) if self.texts else None
        self._longest = max((len(t) for t in self.texts), default=0)

    def find(self, text: str, start: int) -> tuple[int, str]:
        """Where the first of them is, and which (the longest of those at one place); (-1, "") if there is none."""
        found = self._find.search(text, start) if self._find else None
        return (found.start(), found.group()) if found else (-1, "")

    def overlap(self, text: str, start: int) -> int:
        """Length of the longest end of text[start:] that begins one of them, without being all of it."""
        for n in range(min(len(text) - start, self._longest - 1), 0, -1):
            tail = text[len(text) - n :]
            if any(len(t) > n and t.startswith(tail) for t in self.texts):
                return n
        return 0


class Reader:
    """A text that comes in pieces, and the place up to which it was read."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._marks: list[int] = []
        self.ended = False
        """Nothing will follow."""

    def feed(self, piece: str) -> None:
        if not self._marks:  # what was read is not needed again
            self._text, self._at = self._text[self._at :], 0
        self._text += piece

    def end(self) -> None:
        self.ended = True

    def attempt(self, step: Step[object]) -> Step[bool]:
        """Read by `step`, and go back to where it began unless it came to commit(): whether it did."""
        depth = len(self._marks)
        self._marks.append(self._at)
        yield from step
        if len(self._marks) > depth:
            self._at = self._marks.pop()
            return False
        return True

    def commit(self) -> None:
        """What was read stays read."""
        self._marks.clear()

    # --- what follows

    def more(self) -> Step[bool]:
        """Wait for more text; False if there is none."""
        known = len(self._text) - self._at
        while not self.ended and len(self._text) - self._at == known:
            yield
        return len(self._text) - self._at > known

    def peek(self, n: int = 1) -> Step[str]:
        """The next n characters, or as many as there are."""
        while len(self._text) - self._at < n:
            if not (yield from self.more()):
                break
        return self._text[self._at : self._at + n]

    def at(self, literal: str) -> Step[bool]:
        """Whether `literal` follows; waits only while it may."""
        while True:
            known = self._text[self._at : self._at + len(literal)]
            if len(known) == len(literal) or not literal.startswith(known):
                return known == literal
            if not (yield from self.more()):
                return False

    def at_space(self) -> Step[str]:
        """The white space that follows."""
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None
            if found.end() < len(self._text) or not (yield from self.more()):
                return found.group()

    def after_space(self, *literals: str) -> Step[bool]:
        """Whether one of `literals` follows, or white space and one of them."""
        space = yield from self.at_space()
        for literal in literals:
            if (yield from self.at(space + literal)):
                return True
        return False

    def followed(self, literal: str, *then: str) -> Step[bool]:
        """Whether `literal` follows, and after it, or after white space, one of `then` or the end."""
        if not (yield from self.at(literal)):
            return False
        n = len(literal)
        while True:
            found = _SPACE.match(self._text, self._at + n)
            assert found is not None
            if found.end() < len(self._text) or not (yield from self.more()):
                break
        head = self._text[self._at : found.end()]
        for text in then:
            if (yield from self.at(head + text)):
                return True
        return self.ended and found.end() == len(self._text)

    def take(self, n: int) -> str:
        """The next n characters, which must be known."""
        taken = self._text[self._at : self._at + n]
        self._at += len(taken)
        return taken

    def accept(self, literal: str) -> Step[bool]:
        """Take `literal` if it follows."""
        if (yield from self.at(literal)):
            self._at += len(literal)
            return True
        return False

    def space(self) -> Step[str]:
        """Take white space."""
        return self.take(len((yield from self.at_space())))

    def match(self, pattern: regex.Pattern[str]) -> Step[str]:
        """Take what `pattern` matches here, as much as it can; "" where it does not."""
        while True:
            found = pattern.match(self._text, self._at, partial=True)
            if found is None:
                return ""
            if found.end() < len(self._text) or not (yield from self.more()):
                whole = pattern.match(self._text, self._at)
                return self.take(whole.end() - self._at) if whole else ""

    def until(self, markers: Markers, put: Put, keep_space: bool = False) -> Step[str]:
        """Take text up to one of `markers`, and hand it to `put` as soon as it is certain; the marker, or "" where the
        text ends.

        The marker is left there; so is white space before it, unless `keep_space`.
        """
        while True:
            start = self._at
            place, marker = markers.find(self._text, start)
            if marker:
                _give(put, self._take_trimmed(place, keep_space))
                return marker
            if self.ended:
                _give(put, self.take(len(self._text) - start))
                return ""
            _give(put, self._take_trimmed(len(self._text) - markers.overlap(self._text, start), keep_space))
            yield from self.more()

    def _take_trimmed(self, end: int, keep_space: bool) -> str:
        text = self._text[self._at : end]
        return self.take(len(text if keep_space else text.rstrip()))

    # --- JSON

    def json_value(self, put: Put) -> Step[bool]:
        """Take one JSON value, and hand its text to `put` as it comes; False where none begins, or it does not end.

        Only strings and brackets are looked at: what is between them is not checked, but for the beginning of markup.
        """
        first = yield from self.peek()
        if first == '"':
            return (yield from self._json_string(put))
        if first in ("{", "["):
            return (yield from self._json_container(put))
        scalar = yield from self.match(_SCALAR)
        _give(put, scalar)
        return bool(scalar)

    def _json_string(self, put: Put) -> Step[bool]:
        put(self.take(1))
        while True:
            found = _IN_STRING.search(self._text, self._at)
            end = found.start() if found else len(self._text)
            _give(put, self.take(end - self._at))
            if found is None:
                if not (yield from self.more()):
                    return False
            elif found.group() == '"':
                put(self.take(1))
                return True
            else:  # a backslash, and what it escapes
                escape = yield from self.peek(2)
                put(self.take(len(escape)))

    def _json_container(self, put: Put) -> Step[bool]:
        depth = 0
        while True:
            found = _STRUCTURE.search(self._text, self._at)
            end = found.start() if found else len(self._text)
            _give(put, self.take(end - self._at))
            if found is None:
                if not (yield from self.more()):
                    return False
                continue
            if found.group() == '"':
                if not (yield from self._json_string(put)):
                    return False
                continue
            if found.group() in "<`":  # no JSON: a call was left unfinished
                return False
            put(self.take(1))
            depth += 1 if found.group() in "{[" else -1
            if depth == 0:
                return True


_SCALAR = regex.compile(r"[^\s,:\[\]{}\"]*")
_IN_STRING = re.compile(r'["\\]')
_STRUCTURE = re.compile(r'["{}\[\]<`]')


def _give(put: Put, text: str) -> None:
    if text:
        put(text)


def gather(step: Callable[[Put], Step[T]]) -> Step[tuple[T, str]]:
    """What a step comes to, and the text that it handed on."""
    pieces: list[str] = []
    result = yield from step(pieces.append)
    return result, "".join(pieces)

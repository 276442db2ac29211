"""llama.cpp's GBNF: the parser (its grammars/README.md; `llama_grammar_parser` of src/llama-grammar.cpp)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from localllm.errors import GrammarError
from localllm.generate.grammar_input import NAMES

_MAX_REPEATS = 2_000
"""llama.cpp's MAX_REPETITION_THRESHOLD."""
_MAX_DEPTH = 100
_MAX_RULES = 1_000
LAST = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Chars:
    """One of these characters: ranges of code points, both ends included."""

    ranges: Ranges


@dataclass(frozen=True, eq=False)
class Token:
    """One token, in Lark's writing: <name>, <[id]>, <[^id]>."""

    text: str


@dataclass(frozen=True, eq=False)
class Reference:
    name: str
    line: int


@dataclass(frozen=True, eq=False)
class Sequence:
    items: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Choice:
    options: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Repeat:
    item: Node
    least: int
    most: int | None


Node = Chars | Token | Reference | Sequence | Choice | Repeat
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n"} | {c: c for c in '\\"[]-'}
_HEX = {"x": 2, "u": 4, "U": 8}
_NAME = re.compile(r"[A-Za-z0-9-]+")
_NUMBER = re.compile(r"[0-9]{1,9}")
_BLANKS = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_BLANKS_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_TOKEN = re.compile(r"(!?)<(\[([0-9]{1,9})\]|[^<>\s]{1,200})>")
_SIMPLE_REPEATS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def parse(source: str) -> dict[str, Node]:
    """Rules by their names; "root" is one of them. Raises GrammarError with the line."""
    return _Parser(source).rules()


@dataclass
class _Parser:
    text: str
    at: int = 0
    depth: int = 0
    references: list[Reference] = field(default_factory=list)

    def rules(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        self._space(lines=True)
        while self.at < len(self.text):
            name = self._match(_NAME, "the name of a rule")
            self._space()
            self._expect("::=")
            self._space(lines=True)
            found[name] = self._choice(nested=False)
            if len(found) > _MAX_RULES:
                raise self._error(f"has more than {_MAX_RULES} rules")
            if self.at < len(self.text) and self.text[self.at] not in "\r\n":
                raise self._error(f"{self.text[self.at]!r} is not expected here")
            self._space(lines=True)
        if "root" not in found:
            raise GrammarError(NAMES["gbnf"], "", "has no rule named root")
        for reference in self.references:
            if reference.name not in found:
                raise GrammarError(NAMES["gbnf"], f"line {reference.line}", f"there is no rule {reference.name[:80]!r}")
        return found

    def _choice(self, nested: bool) -> Node:
        options = [self._sequence(nested)]
        while self.text[self.at : self.at + 1] == "|":
            self.at += 1
            self._space(lines=True)
            options.append(self._sequence(nested))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self, nested: bool) -> Node:
        items: list[Node] = []
        while (item := self._item()) is not None:
            self._space(nested)
            while (times := self._times(nested)) is not None:
                item = Repeat(item, *times)
                self._space(nested)
            items.append(item)
        if self.text[self.at : self.at + 1] in ("*", "+", "?", "{"):
            raise self._error("there is nothing to repeat")
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _item(self) -> Node | None:
        c = self.text[self.at : self.at + 1]
        if c == '"':
            return self._literal()
        if c == "[":
            return self._class()
        if c == "(":
            return self._group()
        if c == ".":
            self.at += 1
            return Chars(((0, LAST),))
        if c in ("<", "!"):
            return self._token()
        if c and _NAME.match(c):
            reference = Reference(self._match(_NAME, "a name"), self._line())
            self.references.append(reference)
            return reference
        return None

    def _literal(self) -> Node:
        self.at += 1
        chars = []
        while not self._next('"'):
            chars.append(Chars(((c := self._char(), c),)))
        return Sequence(tuple(chars))

    def _class(self) -> Node:
        self.at += 1
        negated = self._next("^")
        ranges = []
        while not self._next("]"):
            first = last = self._char()
            if self.text[self.at : self.at + 1] == "-" and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                last = self._char()
            if last < first:
                raise self._error("the ends of a range are the wrong way round")
            ranges.append((first, last))
        chosen = _complement(ranges) if negated else _merged(ranges)
        if not chosen:
            raise self._error("no character is in this class")
        return Chars(chosen)

    def _group(self) -> Node:
        self.at += 1
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self._error(f"is nested deeper than {_MAX_DEPTH} levels")
        self._space(lines=True)
        inner = self._choice(nested=True)
        self._expect(")")
        self.depth -= 1
        return inner

    def _token(self) -> Node:
        found = _TOKEN.match(self.text, self.at)
        if not found:
            raise self._error("a token is written <name> or <[id]>")
        self.at = found.end()
        if not found[1]:
            return Token(f"<{found[2]}>")
        if not found[3]:
            raise self._error("the opposite of a token is written by its id: !<[id]>")
        return Token(f"<[^{found[3]}]>")

    def _times(self, nested: bool) -> tuple[int, int | None] | None:
        c = self.text[self.at : self.at + 1]
        if c in _SIMPLE_REPEATS:
            self.at += 1
            return _SIMPLE_REPEATS[c]
        if c != "{":
            return None
        self.at += 1
        self._space(nested)
        least = int(self._match(_NUMBER, "a number"))
        most: int | None = least
        self._space(nested)
        if self._next(","):
            self._space(nested)
            found = _NUMBER.match(self.text, self.at)
            most = int(self._match(_NUMBER, "a number")) if found else None
            self._space(nested)
        self._expect("}")
        if max(least, most or 0) > _MAX_REPEATS:
            raise self._error(f"repeats more than {_MAX_REPEATS} times")
        if most is not None and most < least:
            raise self._error("repeats at most fewer times than at least")
        return least, most

    def _char(self) -> int:
        if self.at >= len(self.text):
            raise self._error("a quote or a class is not closed")
        c = self.text[self.at]
        self.at += 1
        if c != "\\":
            return ord(c)
        kind = self.text[self.at : self.at + 1]
        self.at += 1
        if kind in _ESCAPES and kind:
            return ord(_ESCAPES[kind])
        digits = self.text[self.at : self.at + _HEX.get(kind, 0)]
        if not kind or not digits or len(digits) != _HEX[kind] or not set(digits) <= set("0123456789abcdefABCDEF"):
            raise self._error(f"\\{kind}{digits} is no escape")
        self.at += len(digits)
        value = int(digits, 16)
        if value > LAST or 0xD800 <= value <= 0xDFFF:
            raise self._error(f"\\{kind}{digits} is no character")
        return value

    def _space(self, lines: bool = False) -> None:
        found = (_BLANKS_AND_LINES if lines else _BLANKS).match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _next(self, text: str) -> bool:
        found = self.text.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def _expect(self, text: str) -> None:
        if not self._next(text):
            raise self._error(f"{text} is expected here")

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self.text, self.at)
        if not found:
            raise self._error(f"{what} is expected here")
        self.at = found.end()
        return found[0]

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _error(self, what: str) -> GrammarError:
        return GrammarError(NAMES["gbnf"], f"line {self._line()}", what)


def _merged(ranges: list[tuple[int, int]]) -> Ranges:
    out: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = out[-1][0], max(out[-1][1], last)
        else:
            out.append((first, last))
    return tuple(out)


def _complement(ranges: list[tuple[int, int]]) -> Ranges:
    out, at = [], 0
    for first, last in _merged(ranges):
        if first > at:
            out.append((at, first - 1))
        at = last + 1
    return (*out, (at, LAST)) if at <= LAST else tuple(out)

"""From GBNF to Lark: the same texts, in lexemes as long as can be.

A GBNF grammar is made of characters; llguidance reads lexemes, each as far as it goes (docs/syntax.md there, *Terminals
vs rules*). What does not refer to itself becomes one lexeme, which is what makes it fast. But where what follows a
lexeme may begin as this lexeme, or another one that is possible at the same place, goes on ([a-z]+ "b"), the longest
one is not always right: such a lexeme is written as single characters. (Not in very large grammars: see TooLarge.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from localllm.generate.grammar_gbnf import LAST, Chars, Choice, Node, Reference, Repeat, Sequence, Token, parse
from localllm.generate.grammar_gbnf_sets import Key, Lexeme, Sets, TooLarge, to_be_split
from localllm.generate.grammar_input import NAMES
from localllm.generate.grammar_repeats import check_written_out


def lark_of(source: str) -> str:
    """Raises GrammarError with the line."""
    return _Writer(parse(source)).lark()


@dataclass
class _Place:
    """Where in a rule the writer is: lexemes are numbered in the order in which they are met."""

    rule: str
    met: int = 0


class _Writer:
    def __init__(self, rules: dict[str, Node]) -> None:
        self.rules, self.sets = rules, Sets(rules)
        self.number = {name: i for i, name in enumerate(rules)}
        self.follows = dict.fromkeys(rules, 0)
        self.lexemes: dict[Key, Lexeme] = {}
        self.split: set[Key] = set()
        self.definitions: dict[str, str] = {}

    def lark(self) -> str:
        sizes: dict[str, int] = {}
        for node in self.rules.values():
            check_written_out(NAMES["gbnf"], "", self.sets.size(node, sizes))
        kept = [name for name, node in self.rules.items() if not self.sets.is_regular(node)]
        while True:  # what may follow a rule is known once no pass finds more
            before = list(self.follows.values())
            for name in {"root": 0} | dict.fromkeys(kept):
                self._rule(self.rules[name], self.follows[name], _Place(name))
            if before == list(self.follows.values()):
                break
        try:
            self.split = to_be_split(self.lexemes, self.sets)
        except TooLarge:
            self.split = set()
        self.definitions = {}
        start = self._rule(self.rules["root"], 0, _Place("root"))
        for name in kept:
            self.definitions[self._name("g", name)] = self._rule(self.rules[name], 0, _Place(name))
        return "".join(f"{name}: {body}\n" for name, body in ({"start": start} | self.definitions).items())

    def _name(self, kind: str, rule: str) -> str:
        return f"{kind}{self.number[rule]}"

    def _rule(self, node: Node, follow: int, place: _Place) -> str:
        """A node in a rule, where characters of `follow` may come after it."""
        if self.sets.is_regular(node):
            return self._lexeme(node, follow, place)
        if isinstance(node, Reference):
            self.follows[node.name] |= follow
            return self._name("g", node.name)
        if isinstance(node, Token):
            return node.text
        if isinstance(node, Repeat):
            return f"({self._rule(node.item, self.sets.first(node.item) | follow, place)}){_times(node)}"
        if isinstance(node, Choice):
            regular = [option for option in node.options if self.sets.is_regular(option)]
            others = [option for option in node.options if not self.sets.is_regular(option)]
            options = [self._lexeme(Choice(tuple(regular)), follow, place)] if regular else []
            return f"({' | '.join([*options, *(self._rule(option, follow, place) for option in others)])})"
        assert isinstance(node, Sequence)
        written = []
        for run in reversed(_runs(node, self.sets.is_regular)):
            written.append(self._rule(run, follow, place))
            follow = self.sets.first(run) | (follow if self.sets.is_nullable(run) else 0)
        return " ".join(reversed(written))

    def _lexeme(self, node: Node, follow: int, place: _Place) -> str:
        key = (place.rule, place.met)
        place.met += 1
        self.lexemes.setdefault(key, Lexeme(node)).follow |= follow
        if key in self.split:
            return self._written(node, "c")
        name = f"T{self.number[place.rule]}_{key[1]}"
        self.definitions[name] = self._written(node, "R")
        return name

    def _written(self, node: Node, kind: str) -> str:
        """A regular node in the rules or terminals of a kind: "c" for rules of single characters, "R" for terminals."""
        if isinstance(node, Chars):
            return f"/[{''.join(map(_range, _without_surrogates(node)))}]/"
        if isinstance(node, Reference):
            name = self._name(kind, node.name)
            if name not in self.definitions:
                self.definitions[name] = ""  # its place
                self.definitions[name] = self._written(self.rules[node.name], kind)
            return name
        if isinstance(node, Repeat):
            return f"({self._written(node.item, kind)}){_times(node)}"
        if isinstance(node, Choice):
            return f"({' | '.join(self._written(option, kind) for option in node.options)})"
        assert isinstance(node, Sequence)
        return " ".join(self._written(item, kind) for item in node.items) or '""'


def _runs(node: Sequence, is_regular: Callable[[Node], bool]) -> list[Node]:
    """The items, neighbours that are regular as one."""
    runs: list[Node] = []
    for regular, items in groupby(node.items, is_regular):
        found = tuple(items)
        runs += [found[0] if len(found) == 1 else Sequence(found)] if regular else found
    return runs


def _times(node: Repeat) -> str:
    return f"{{{node.least},{'' if node.most is None else node.most}}}"


def _without_surrogates(node: Chars) -> list[tuple[int, int]]:
    """Half characters are in no text, nor in a regular expression."""
    parts = []
    for first, last in node.ranges:
        parts += [(first, min(last, 0xD7FF)), (max(first, 0xE000), min(last, LAST))]
    return [(first, last) for first, last in parts if first <= last]


def _range(ends: tuple[int, int]) -> str:
    return "-".join(f"\\x{{{end:x}}}" for end in dict.fromkeys(ends))

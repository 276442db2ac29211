"""Which parts of a GBNF grammar are regular, which characters they begin with, and which lexemes would hide others.

Sets of characters are bits of an int: one for each piece between two ends of the grammar's ranges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from localllm.generate.grammar_gbnf import LAST, Chars, Choice, Node, Reference, Repeat, Sequence, Token

_MAX_POSITIONS = 400
"""Characters of all lexemes, whose pairs are compared ..."""
_MAX_WORK = 2_000_000
"""... by at most so many steps (half a second)."""

Key = tuple[str, int]


class TooLarge(Exception):
    """Lexemes have too many characters to compare all pairs: they stay whole, and the longest one counts."""


@dataclass
class Lexeme:
    """A regular part of a rule, and the characters that may come after it."""

    node: Node
    follow: int = 0


class Sets:
    def __init__(self, rules: dict[str, Node]) -> None:
        self._rules = rules
        nodes = [node for rule in rules.values() for node in _walk(rule)]
        ranges = [ends for node in nodes if isinstance(node, Chars) for ends in node.ranges]
        starts = sorted({0} | {first for first, _ in ranges} | {last + 1 for _, last in ranges if last < LAST})
        self._place = {start: i for i, start in enumerate(starts)}
        self._irregular = self._find_irregular()
        self._nullable = dict.fromkeys(rules, False)
        self._firsts = dict.fromkeys(rules, 0)
        while True:
            found = {name: (self.is_nullable(node), self.first(node)) for name, node in rules.items()}
            if all(found[name] == (self._nullable[name], self._firsts[name]) for name in rules):
                break
            for name, (nullable, first) in found.items():
                self._nullable[name], self._firsts[name] = nullable, first

    def _find_irregular(self) -> set[str]:
        """Rules that may refer to themselves, or hold a token."""
        direct = {name: {n.name for n in _walk(node) if isinstance(n, Reference)} for name, node in self._rules.items()}
        regular: set[str] = set()
        with_tokens = {name for name, node in self._rules.items() if any(isinstance(n, Token) for n in _walk(node))}
        while more := {
            n for n, used in direct.items() if n not in regular and n not in with_tokens and used <= regular
        }:
            regular |= more
        return set(self._rules) - regular

    def is_regular(self, node: Node) -> bool:
        return not any(
            isinstance(n, Token) or (isinstance(n, Reference) and n.name in self._irregular) for n in _walk(node)
        )

    def of(self, node: Chars) -> int:
        bits = 0
        for first, last in node.ranges:
            end = self._place[last + 1] if last < LAST else len(self._place)
            bits |= (1 << end) - (1 << self._place[first])
        return bits

    def is_nullable(self, node: Node) -> bool:
        if isinstance(node, Reference):
            return self._nullable[node.name]
        if isinstance(node, Sequence):
            return all(map(self.is_nullable, node.items))
        if isinstance(node, Choice):
            return any(map(self.is_nullable, node.options))
        return isinstance(node, Repeat) and (node.least == 0 or self.is_nullable(node.item))

    def first(self, node: Node) -> int:
        """The characters that a text of a node may begin with."""
        if isinstance(node, Chars):
            return self.of(node)
        if isinstance(node, Reference):
            return self._firsts[node.name]
        if isinstance(node, Repeat):
            return self.first(node.item)
        bits = 0
        for part in node.options if isinstance(node, Choice) else node.items if isinstance(node, Sequence) else ():
            bits |= self.first(part)
            if isinstance(node, Sequence) and not self.is_nullable(part):
                break
        return bits

    def size(self, node: Node, known: dict[str, int] | None = None) -> int:
        """Characters of a regular node with its repetitions written out; what refers to itself counts as one."""
        known = {} if known is None else known
        if isinstance(node, Reference):
            if node.name not in known:
                known[node.name] = 1
                known[node.name] = self.size(self._rules[node.name], known)
            return known[node.name]
        if isinstance(node, Repeat):
            return self.size(node.item, known) * max(node.least, node.most or 0, 1)
        if isinstance(node, Sequence | Choice):
            return sum(self.size(part, known) for part in (node.items if isinstance(node, Sequence) else node.options))
        return 1

    def target(self, reference: Reference) -> Node:
        return self._rules[reference.name]


def _walk(node: Node) -> Iterator[Node]:
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, Repeat):
            todo.append(node.item)
        elif isinstance(node, Sequence | Choice):
            todo += node.items if isinstance(node, Sequence) else node.options


@dataclass
class _Positions:
    """Glushkov's automaton of all lexemes: a position for each character in them. Numbers of repetitions do not count,
    which allows more than there is, and so errs towards single characters."""

    sets: Sets
    bits: list[int] = field(default_factory=list)
    after: list[set[int]] = field(default_factory=list)

    def add(self, node: Node) -> tuple[set[int], set[int], bool]:
        """First positions, last positions, whether nothing at all matches."""
        if isinstance(node, Chars):
            if len(self.bits) >= _MAX_POSITIONS:
                raise TooLarge
            self.bits.append(self.sets.of(node))
            self.after.append(set())
            return {len(self.bits) - 1}, {len(self.bits) - 1}, False
        if isinstance(node, Reference):
            return self.add(self.sets.target(node))
        if isinstance(node, Repeat):
            first, last, nullable = self.add(node.item)
            if node.most is None or node.most > 1:
                self._link(last, first)
            return first, last, nullable or node.least == 0
        if isinstance(node, Choice):
            found = [self.add(option) for option in node.options]
            return (
                set().union(*(f for f, _, _ in found)),
                set().union(*(e for _, e, _ in found)),
                any(n for *_, n in found),
            )
        first, last, nullable = set(), set(), True
        for item in node.items if isinstance(node, Sequence) else ():
            f, e, n = self.add(item)
            self._link(last, f)
            first |= f if nullable else set()
            last = last | e if n else e
            nullable = nullable and n
        return first, last, nullable

    def _link(self, before: set[int], behind: set[int]) -> None:
        for position in before:
            self.after[position] |= behind


def to_be_split(lexemes: dict[Key, Lexeme], sets: Sets) -> set[Key]:
    """Lexemes that would hide a shorter one which is complete earlier, and whose successor begins as they go on."""
    positions = _Positions(sets)
    firsts: dict[Key, set[int]] = {}
    owner: dict[int, Key] = {}
    ends: dict[int, int] = {}
    """What may follow where a lexeme is complete."""
    for key, lexeme in lexemes.items():
        begun = len(positions.bits)
        firsts[key], last, _ = positions.add(lexeme.node)
        owner |= dict.fromkeys(range(begun, len(positions.bits)), key)
        ends |= dict.fromkeys(last, lexeme.follow)
    split: set[Key] = set()
    while more := _hiding(positions, firsts, owner, ends, split) - split:
        split |= more
    return split


def _hiding(
    positions: _Positions, firsts: dict[Key, set[int]], owner: dict[int, Key], ends: dict[int, int], split: set[Key]
) -> set[Key]:
    bits, after = positions.bits, positions.after
    whole = {p for key, first in firsts.items() if key not in split for p in first}
    single = {p for p, key in owner.items() if key in split}
    """Characters that are lexemes of their own."""
    found: set[Key] = set()
    todo = [(p, q) for p in whole | single for q in whole if bits[p] & bits[q]]
    seen, work = set(todo), 0
    while todo:
        p, q = todo.pop()
        work += 1 + len(after[p]) * len(after[q])
        if work > _MAX_WORK:
            raise TooLarge
        follow = ends.get(p, 0)
        if p in single:
            for behind in after[p]:
                follow |= bits[behind]
        if any(bits[behind] & follow for behind in after[q]):
            found.add(owner[q])
        for pair in ((a, b) for a in (after[p] if p not in single else ()) for b in after[q]):
            if bits[pair[0]] & bits[pair[1]] and pair not in seen:
                seen.add(pair)
                todo.append(pair)
    return found

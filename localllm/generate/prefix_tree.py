"""Beginnings that were read once, by their token ids: a prefix tree whose nodes hold what a context kept of them.

A node stands for tokens that follow its parent's, from any offset within the parent on: nothing is ever split. Beside
a node lie moments, states as of one position, for models that do not keep every position's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from localllm.model.sequences import Moment, Span

Ids = NDArray[np.int32]


@dataclass(eq=False)
class Kept(ABC):
    """Something that is kept in memory (`content`), in a file (its name), or in both."""

    n_bytes: int
    content: Span | Moment | None = None
    name: str = ""
    """Of its file, once it is known."""
    file: str = ""
    used: int = 0
    """Time of the last use, by the tree's clock."""
    is_waiting: bool = False
    """To be written to a file: its content must stay."""

    @property
    def is_gone(self) -> bool:
        return self.content is None and not self.file

    @property
    @abstractmethod
    def position(self) -> int:
        """Where it begins; greater than that of what it hangs on."""


@dataclass(eq=False)
class Node(Kept):
    """The cells of tokens `ids`, which begin at position `start`."""

    parent: Node | None = None
    start: int = 0
    ids: Ids = field(default_factory=lambda: np.empty(0, np.int32))
    children: dict[int, dict[int, list[Node]]] = field(default_factory=dict)
    """By the position where they begin, and their first token."""
    moments: list[KeptMoment] = field(default_factory=list)

    @property
    def position(self) -> int:
        return self.start

    @property
    def stop(self) -> int:
        return self.start + len(self.ids)

    def below(self) -> Iterator[Node]:
        for by_token in self.children.values():
            for nodes in by_token.values():
                yield from nodes


@dataclass(eq=False)
class KeptMoment(Kept):
    """States as of a position within a node, or at its end; `then` without parts says which."""

    node: Node | None = None
    then: Moment = field(default_factory=lambda: Moment(0, 0))

    @property
    def position(self) -> int:
        return self.then.position


@dataclass(frozen=True)
class Found:
    """The longest way along some ids: nodes, and how many of the ids they cover."""

    path: tuple[Node, ...]
    n_common: int


class PrefixTree:
    def __init__(self) -> None:
        self.root = Node(0, used=1 << 62)
        self.names: dict[str, Kept] = {}
        """Of what has a file, or gets one."""
        self.held: set[Kept] = set()
        """What is in memory."""
        self.held_bytes = 0
        self._clock = 0

    def longest(self, ids: Ids) -> Found:
        """The way that covers most of `ids`."""
        best = Found((), 0)
        waiting: list[tuple[Node, tuple[Node, ...]]] = [(self.root, ())]
        while waiting:
            node, path = waiting.pop()
            reached = node.start + common(node.ids, ids[node.start :])
            if reached > best.n_common:
                best = Found(path, reached)
            for offset, by_token in node.children.items():
                if offset <= reached and offset < len(ids):
                    waiting += [(child, (*path, child)) for child in by_token.get(int(ids[offset]), ())]
        return best

    def add(self, parent: Node, node: Node) -> Node:
        """Hang a node, which is not empty, under the position where it begins."""
        node.parent = parent
        parent.children.setdefault(node.start, {}).setdefault(int(node.ids[0]), []).append(node)
        return node

    def add_moment(self, node: Node, moment: KeptMoment) -> KeptMoment:
        moment.node = node
        node.moments.append(moment)
        return moment

    def touch(self, path: tuple[Node, ...], moment: KeptMoment | None = None) -> None:
        """Note that a way was used just now. A node is never older than what hangs on it."""
        self._clock += 1
        ways = [path[-1] if path else None]
        if moment is not None:
            moment.used = self._clock
            ways.append(moment.node)
        for node in ways:
            while node is not None and node is not self.root:
                node.used = self._clock
                node = node.parent

    def prefix(self, node: Node) -> Ids:
        """All tokens up to a node's end."""
        parts: list[Ids] = []
        until, at = node.stop, node
        while at is not self.root and at.parent is not None:
            parts.append(at.ids[: until - at.start])
            until, at = at.start, at.parent
        return np.concatenate(parts[::-1]) if parts else np.empty(0, np.int32)

    def name(self, kept: Kept, name: str) -> None:
        kept.name = name
        self.names[name] = kept

    def all(self) -> Iterator[Kept]:
        """Everything kept, parents before what hangs on them."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if node is not self.root:
                yield node
            yield from node.moments
            waiting += node.below()

    def hold(self, kept: Kept, content: Span | Moment) -> None:
        """Its content is in memory, unless it has left the tree meanwhile."""
        above = kept.parent if isinstance(kept, Node) else kept.node if isinstance(kept, KeptMoment) else None
        if above is None:
            return
        kept.content = content
        if kept not in self.held:
            self.held.add(kept)
            self.held_bytes += kept.n_bytes

    def let_go(self, kept: Kept) -> None:
        """Its content need not be in memory; what is kept nowhere then leaves the tree."""
        kept.content = None
        if kept in self.held:
            self.held.remove(kept)
            self.held_bytes -= kept.n_bytes
        if kept.is_gone:
            self.prune(kept)

    def oldest_first(self) -> list[Kept]:
        """What is in memory in the order in which it may go: what hangs on a node goes before it."""
        return sorted(self.held, key=lambda kept: (kept.used, -kept.position))

    def prune(self, kept: Kept) -> None:
        """Take something out, with all that hangs on it."""
        if isinstance(kept, KeptMoment) and kept.node is not None:
            kept.node.moments.remove(kept)
        elif isinstance(kept, Node) and kept.parent is not None:
            by_token = kept.parent.children[kept.start]
            by_token[int(kept.ids[0])].remove(kept)
            kept.parent.children[kept.start] = {token: nodes for token, nodes in by_token.items() if nodes}
            if not kept.parent.children[kept.start]:
                del kept.parent.children[kept.start]
        waiting = [kept]
        while waiting:
            gone = waiting.pop()
            if self.names.get(gone.name) is gone:
                del self.names[gone.name]
            if gone in self.held:
                self.held.remove(gone)
                self.held_bytes -= gone.n_bytes
            if isinstance(gone, Node):
                gone.parent = None
                waiting += [*gone.moments, *gone.below()]
            elif isinstance(gone, KeptMoment):
                gone.node = None


def common(a: Ids, b: Ids) -> int:
    """How many tokens two sequences have in common from their beginning on."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n

"""Beginnings of prompts that were read once, kept in memory within a budget, and on disk: who reads one again gets it
back, in another process, too.

A driver (generate.loop, the engine) asks `find` before it reads a prompt, and `save`s what it has read. What comes back
is what the context held, so answers keep their bits. A cache belongs to one context, and `find`, `save` and
`restore_into` to the thread that runs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from localllm.errors import UsageError
from localllm.generate.disk_tier import DiskTier, Layout
from localllm.generate.prefix_tree import Found, Ids, Kept, KeptMoment, Node, PrefixTree
from localllm.generate.saved_file import MAX_TOKENS
from localllm.model.sequences import Moment, Span
from localllm.runtime.system import available_memory

MIN_TOKENS = 256
"""Shorter beginnings are not kept: they are read in no time."""
MIN_GAIN = 32
"""A beginning is kept, and restored, where it saves at least so many tokens more than what is there already."""
SPAN_TOKENS = MAX_TOKENS
"""Of a node: the oldest go by such pieces."""
MARK = 32
"""Moments are taken at multiples of it: beginnings that are shared end shortly after them."""
DISK_BYTES = 2 << 30
_MOST_MEMORY = 1 << 30
_BYTES_A_TOKEN = 512 << 10
"""Of a moment, for each token that need not be read again."""
_SPARE = 256 << 20
"""Bytes of memory that a copy must leave free."""
_NEAR = 64
"""Nodes below a way that are searched for moments that a sequence can go back from."""


class Keeper(Layout, Protocol):
    """What the cache needs of a context (localllm.model's Context is one)."""

    @property
    def moment_is_needed(self) -> bool: ...
    def n_past(self, seq_id: int = 0) -> int: ...
    def reach(self, seq_id: int, position: int) -> int: ...
    def reach_of(self, moment: Moment, position: int) -> int: ...
    def span(self, seq_id: int, start: int, stop: int) -> Span: ...
    def moment(self, seq_id: int, position: int) -> Moment: ...
    def resume(self, seq_id: int, n_past: int, spans: Sequence[Span], moment: Moment | None = None) -> None: ...


def default_memory() -> int:
    """Bytes: a tenth of what is free, at most 1 GB."""
    return min(_MOST_MEMORY, available_memory() // 10)


@dataclass(frozen=True)
class CacheOptions:
    """Where beginnings are kept."""

    folder: Path | None = None
    """On disk (`saved_folder.default_folder` is the user's); None: nowhere."""
    disk_bytes: int = DISK_BYTES
    """What the files of all models may take."""
    memory_bytes: int | None = None
    """None: `default_memory`."""
    on_note: Callable[[str], None] | None = None
    """Called, in any thread, with what went wrong with the disk."""

    def of(self, context: Keeper) -> PromptCache:
        """A context's cache."""
        return PromptCache(context, self.memory_bytes, self.folder, self.disk_bytes, self.on_note)


@dataclass(frozen=True)
class CacheStatus:
    """What a cache holds, in bytes, and what it was good for."""

    memory_bytes: int
    memory_limit: int
    entries: int
    """Pieces that are kept: cells of up to SPAN_TOKENS tokens, states of one position."""
    lookups: int
    hits: int
    restored_tokens: int
    """Tokens that did not have to be read again."""
    saved_tokens: int
    disk_bytes: int
    """Of the whole folder; 0 as long as it is not known which files are this model's."""
    note: str
    """What went wrong with the disk last, for people."""


@dataclass
class Match:
    """How much of a prompt is kept."""

    n_past: int
    """Tokens that need not be read; 0: none. At least one of the prompt is left."""
    mark: int
    """Where the driver should stop reading for a moment and `save`, since other prompts go that far together, and what
    is kept does not let a context go on from there; 0: nowhere."""
    _cache: PromptCache
    _path: tuple[Node, ...]
    _moment: KeptMoment | None
    _loaded: tuple[list[Span], Moment | None] | None = None

    @property
    def is_loaded(self) -> bool:
        """`restore_into` will not read files."""
        kept = [*self._path, *([self._moment] if self._moment else ())]
        return self._loaded is not None or all(k.content is not None for k in kept)

    def load(self) -> bool:
        """Read the files that it takes (0.1 s for 100 MB), in any thread; False where something is gone."""
        if self._loaded is None:
            self._loaded = self._cache._load(self)
        return self._loaded is not None

    def restore_into(self, context: Keeper, seq_id: int) -> int:
        """Give the sequence what is kept, in place of what it holds; n_past. 0: it is gone, and nothing has changed."""
        return self._cache._restore(self, context, seq_id)


class PromptCache:
    """Made by `CacheOptions.of`."""

    def __init__(
        self,
        context: Keeper,
        memory: int | None = None,
        folder: Path | None = None,
        disk: int = DISK_BYTES,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.context = context
        self.memory_limit = default_memory() if memory is None else memory
        self._tree = PrefixTree()
        self._lock = threading.RLock()
        self._lookups = self._hits = self._restored = self._saved = 0
        self._disk = DiskTier(context, self._tree, self._lock, folder, disk, self._evict, on_note) if folder else None

    @property
    def has_disk(self) -> bool:
        return self._disk is not None

    def find(self, ids: Sequence[int], known: int = 0) -> Match:
        """The longest beginning of a prompt that can be restored: 0 tokens where nothing is worth it. known: tokens
        that the driver has already, to which it must add something."""
        if len(ids) <= known + MIN_GAIN:
            return Match(0, 0, self, (), None)
        with self._lock:
            self._lookups += 1
            self._look_at_disk(len(ids))
            if not self._tree.root.children:
                return Match(0, 0, self, (), None)
            prompt = np.asarray(ids, np.int32)
            found = self._tree.longest(prompt)
            n_past, moment = self._usable(found, len(ids) - 1)
            if n_past < known + MIN_GAIN:
                n_past, moment = 0, None
            mark = found.n_common // MARK * MARK if self.context.moment_is_needed else 0
            if mark and not max(MIN_TOKENS, n_past + self._worth(mark), known + MIN_GAIN) <= mark < len(ids) - MIN_GAIN:
                mark = 0
            return Match(n_past, mark, self, _covering(found.path, n_past), moment)

    def save(self, context: Keeper, seq_id: int, ids: Sequence[int]) -> int:
        """Keep what a sequence holds of `ids`, its first tokens, where that is worth it; how many tokens are new.

        It is copied at once (25 ms for 100 MB), and written to disk later.
        """
        n = min(len(ids), context.n_past(seq_id))
        if n < MIN_TOKENS:
            return 0
        prompt = np.asarray(ids[:n], np.int32)
        with self._lock:
            self._look_at_disk(n)
            found = self._tree.longest(prompt)
            at = _moment_position(context, seq_id, n) if context.moment_is_needed else n
            gain = at - self._usable(found, at)[0]
            if gain < self._worth(at):
                return 0
            need = context.span_bytes(found.n_common, n) + sum(context.moment_bytes(at))
            if available_memory() < need + _SPARE:
                return 0
            path, moment = self._add_spans(context, seq_id, prompt, found), None
            if context.moment_is_needed:
                content = context.moment(seq_id, at)
                moment = KeptMoment(sum(map(len, content.parts)), then=replace(content, parts=()))
                self._tree.add_moment(next(node for node in reversed(path) if node.start < at), moment)
                self._tree.hold(moment, content)
            self._use(path, moment)
            self._saved += gain
            self._evict()
        return gain

    def status(self) -> CacheStatus:
        with self._lock:
            n_kept = sum(1 for _ in self._tree.all())
        disk = self._disk
        return CacheStatus(
            self._tree.held_bytes, self.memory_limit, n_kept, self._lookups, self._hits, self._restored, self._saved,
            disk.n_bytes if disk else 0, disk.note if disk else "",
        )  # fmt: skip

    def close(self, seconds: float = 10.0) -> None:
        """Write what is still to be written, for so long at most. To be called before the context is closed."""
        if self._disk:
            self._disk.close(seconds)

    def _look_at_disk(self, n: int) -> None:
        if self._disk and n >= MIN_TOKENS:
            self._disk.refresh()

    def _use(self, path: tuple[Node, ...], moment: KeptMoment | None) -> None:
        self._tree.touch(path, moment)
        if self._disk:
            self._disk.use(path, moment)

    def _worth(self, position: int) -> int:
        """Tokens that a beginning must save to be kept: a moment may be large."""
        return max(MIN_GAIN, sum(self.context.moment_bytes(position)) // _BYTES_A_TOKEN)

    def _usable(self, found: Found, most: int) -> tuple[int, KeptMoment | None]:
        """From where a way can be gone on from, at most `most`, and by which moment."""
        most = min(most, found.n_common)
        if not self.context.moment_is_needed:
            return most, None
        best: tuple[int, KeptMoment | None] = (0, None)
        for kept, limit in _moments(found.path, most):
            if kept.then.position > best[0]:
                at = self.context.reach_of(kept.then, limit)
                best = max(best, (at, kept), key=lambda pair: pair[0])
        return best

    def _add_spans(self, context: Keeper, seq_id: int, prompt: Ids, found: Found) -> tuple[Node, ...]:
        """Nodes for what the way does not cover; the whole way."""
        path = list(found.path)
        for start in range(found.n_common, len(prompt), SPAN_TOKENS):
            stop = min(len(prompt), start + SPAN_TOKENS)
            span = context.span(seq_id, start, stop)
            tokens = prompt[start:stop].copy()
            node = Node(span.content.nbytes + tokens.nbytes, start=start, ids=tokens)
            path.append(self._tree.add(path[-1] if path else self._tree.root, node))
            self._tree.hold(node, span)
        return tuple(path)

    def _load(self, match: Match) -> tuple[list[Span], Moment | None] | None:
        """What a match stands for, out of memory or files; None where something is gone."""
        spans: list[Span] = []
        moment: Moment | None = None
        for kept in (*match._path, *([match._moment] if match._moment else ())):
            content = kept.content
            if content is None and self._disk and (content := self._disk.load(kept)):
                with self._lock:
                    self._tree.hold(kept, content)
            if isinstance(content, Span):
                spans.append(content)
            elif isinstance(content, Moment):
                moment = content
            else:
                return None
        return spans, moment

    def _restore(self, match: Match, context: Keeper, seq_id: int) -> int:
        if not match.n_past or not match.load():
            return 0
        assert match._loaded
        try:
            context.resume(seq_id, match.n_past, *match._loaded)
        except UsageError:  # a file whose checksums are right and whose content is not
            self._discard((*match._path, match._moment))
            return 0
        with self._lock:
            self._use(match._path, match._moment)
            self._evict()
            self._hits += 1
            self._restored += match.n_past
        return match.n_past

    def _discard(self, kept: Iterable[Kept | None]) -> None:
        with self._lock:
            for k in kept:
                if k and self._disk:
                    self._disk.discard(k)

    def _evict(self) -> None:
        """Forget the oldest until the rest fits the budget, but for what is still to be written."""
        for kept in self._tree.oldest_first() if self._tree.held_bytes > self.memory_limit else ():
            if self._tree.held_bytes <= self.memory_limit:
                return
            if not kept.is_waiting and kept in self._tree.held:
                self._tree.let_go(kept)


def _covering(path: tuple[Node, ...], n_past: int) -> tuple[Node, ...]:
    return tuple(node for node in path if node.start < n_past)


def _moments(path: tuple[Node, ...], most: int) -> list[tuple[KeptMoment, int]]:
    """Those along a way of `most` tokens, and some that hang on its end, since windows can be gone back from them; with
    the position up to which their tokens are the way's."""
    limits = [*(node.start for node in path[1:]), most]
    along = [(node, min(limit, most)) for node, limit in zip(path, limits, strict=False)]
    waiting = along[-1:]
    for _ in range(_NEAR):
        if not waiting:
            break
        node, limit = waiting.pop()
        below = [(child, min(limit, child.start)) for child in node.below()]
        along += below
        waiting += below
    return [(moment, limit) for node, limit in along for moment in node.moments]


def _moment_position(context: Keeper, seq_id: int, n: int) -> int:
    """Where a moment of a sequence's first n tokens is taken: one token before, where the same prompt would be answered
    again; or as near to it as can be."""
    at = context.reach(seq_id, n - 1)
    return n if at < n - 1 and context.reach(seq_id, n) == n else at

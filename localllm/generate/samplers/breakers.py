"""Which tokens break a sequence, for DRY: texts looked up in a vocabulary."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from localllm.generate.samplers.stage import Vocabulary

_MAX_TAIL = 20
"""llama.cpp's."""
_KEPT = 8
"""Lists of texts whose breakers are remembered."""

Tokens = NDArray[np.int32]


class Tail(NamedTuple):
    """Any token of `heads` breaks a sequence where the tokens of `rest` follow it."""

    heads: Tokens
    """int32 [n], rising."""
    rest: tuple[int, ...]
    """One or more."""


class Breakers(NamedTuple):
    """What breaks a sequence."""

    single: frozenset[int] = frozenset()
    """Tokens that do so by themselves."""
    tails: tuple[Tail, ...] = ()


def breakers_of(vocabulary: Vocabulary, texts: tuple[str, ...]) -> Breakers:
    """What breaks a sequence for some texts: tokens that hold one, and those that end in its head, with the rest's
    tokens.

    As get_overlapping_token_sequences of llama.cpp (src/llama-sampler.cpp). Found once for a vocabulary and some texts.
    """
    return pieces_of(vocabulary).breakers(texts, vocabulary)


def pieces_of(vocabulary: Vocabulary) -> Pieces:
    """Read when they are first wanted (some tenths of a second for 150,000 tokens), and kept as the vocabulary is."""
    found = _known.get(vocabulary)
    if found is None:
        found = _known[vocabulary] = Pieces(vocabulary)
    return found


class Pieces:
    """The bytes of all tokens, one after the other. Does not hold on to the vocabulary, which would then never go."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        pieces = [vocabulary.token_bytes(token, special=True) for token in range(vocabulary.n_vocab)]
        self._bytes = np.frombuffer(b"".join(pieces), np.uint8)
        self._ends = np.cumsum([len(piece) for piece in pieces])
        self._lengths = np.diff(self._ends, prepend=0)
        lasts = np.array([piece[-1] if piece else -1 for piece in pieces])
        self._by_last = [np.flatnonzero(lasts == byte) for byte in range(256)]
        """Tokens by their last byte."""
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[str, ...], Breakers] = OrderedDict()

    def breakers(self, texts: tuple[str, ...], vocabulary: Vocabulary) -> Breakers:
        """See `breakers_of`. Any thread may ask."""
        with self._lock:
            found = self._found.get(texts)
            if found is None:
                found = self._found[texts] = self._search(texts, vocabulary)
            self._found.move_to_end(texts)
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
            return found

    def _search(self, texts: Sequence[str], vocabulary: Vocabulary) -> Breakers:
        single: list[NDArray[np.int64]] = []
        heads: defaultdict[tuple[int, ...], list[NDArray[np.int64]]] = defaultdict(list)
        for text in texts:
            data = text.encode()
            single.append(self._holding(data))
            for n, ending in self._ending(data):
                rest = vocabulary.encode(data[n:].decode("utf-8", "ignore"))[:_MAX_TAIL]
                heads[tuple(rest)].append(np.setdiff1d(ending, single[-1], assume_unique=True))
        single += heads.pop((), [])
        alone = frozenset(_joined(single).tolist())
        return Breakers(alone, tuple(Tail(_joined(found), rest) for rest, found in heads.items()))

    def _holding(self, text: bytes) -> NDArray[np.int64]:
        """Tokens that hold a text."""
        at = np.flatnonzero(self._bytes[: max(len(self._bytes) - len(text) + 1, 0)] == text[0])
        for i, byte in enumerate(text[1:], 1):
            at = at[self._bytes[at + i] == byte]
        first = np.searchsorted(self._ends, at, side="right")
        last = np.searchsorted(self._ends, at + len(text) - 1, side="right")
        return np.unique(first[first == last])

    def _ending(self, text: bytes) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The lengths of heads of a text that some tokens end in, and these tokens."""
        for n in range(1, len(text)):
            tokens = self._by_last[text[n - 1]]
            tokens = tokens[self._lengths[tokens] >= n]
            for i in range(1, n):
                if not len(tokens):
                    break
                tokens = tokens[self._bytes[self._ends[tokens] - 1 - i] == text[n - 1 - i]]
            if len(tokens):
                yield n, tokens


def _joined(found: Sequence[NDArray[np.int64]]) -> Tokens:
    return np.unique(np.concatenate(found)).astype(np.int32)


_known: WeakKeyDictionary[Vocabulary, Pieces] = WeakKeyDictionary()

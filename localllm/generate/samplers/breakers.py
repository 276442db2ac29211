"""Which tokens break a sequence, for DRY: texts looked up in a vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

import numpy as np

from localllm.generate.samplers.candidates import Places
from localllm.generate.samplers.stage import Vocabulary

_MAX_TAIL = 20
"""llama.cpp's."""

Breaker = tuple[int, ...]
"""Tokens one after the other that break a repetition."""


def breakers_of(vocabulary: Vocabulary, text: str) -> frozenset[Breaker]:
    """What breaks a sequence for a text: tokens that hold it, and those that end in its head, with the rest's tokens.

    As get_overlapping_token_sequences of llama.cpp (src/llama-sampler.cpp). Found once for a vocabulary and a text.
    """
    if vocabulary not in _known:
        _known[vocabulary] = _Pieces(vocabulary)
    return _known[vocabulary].breakers(text, vocabulary)


class _Pieces:
    """The bytes of all tokens, one after the other. Does not hold on to the vocabulary, which would then never go."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        pieces = [vocabulary.token_bytes(token, special=True) for token in range(vocabulary.n_vocab)]
        self._bytes = np.frombuffer(b"".join(pieces), np.uint8)
        self._ends = np.cumsum([len(piece) for piece in pieces])
        self._lengths = np.diff(self._ends, prepend=0)
        self._found: dict[str, frozenset[Breaker]] = {}

    def breakers(self, text: str, vocabulary: Vocabulary) -> frozenset[Breaker]:
        if text not in self._found:
            if len(self._found) >= _KEPT:
                self._found.clear()
            self._found[text] = frozenset(self._search(text.encode(), vocabulary))
        return self._found[text]

    def _search(self, text: bytes, vocabulary: Vocabulary) -> Iterable[Breaker]:
        whole = self._holding(text)
        yield from ((token,) for token in whole.tolist())
        for n in range(1, len(text)):
            heads = np.setdiff1d(self._ending(text[:n]), whole, assume_unique=True).tolist()
            rest = tuple(vocabulary.encode(text[n:].decode("utf-8", "ignore"))[:_MAX_TAIL]) if heads else ()
            yield from ((token, *rest) for token in heads)

    def _holding(self, text: bytes) -> Places:
        """Tokens that hold a text."""
        n = len(self._bytes) - len(text) + 1
        starts = np.ones(max(n, 0), np.bool_)
        for i, byte in enumerate(text):
            starts &= self._bytes[i : i + len(starts)] == byte
        at = np.flatnonzero(starts)
        first = np.searchsorted(self._ends, at, side="right")
        last = np.searchsorted(self._ends, at + len(text) - 1, side="right")
        return np.unique(first[first == last])

    def _ending(self, text: bytes) -> Places:
        """Tokens that end in a text."""
        tokens = np.flatnonzero(self._lengths >= len(text))
        for i, byte in enumerate(reversed(text)):
            tokens = tokens[self._bytes[self._ends[tokens] - 1 - i] == byte]
        return tokens


_KEPT = 256
"""Texts whose breakers are remembered."""
_known: WeakKeyDictionary[Vocabulary, _Pieces] = WeakKeyDictionary()

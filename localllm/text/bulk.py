"""Byte-pair merges of long texts, by the compiled kernel of localllm.kernels.merge.

Slower to start than localllm.text.merge (the first time ever, some seconds of compiling), and about ten times as fast.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_MAX_SYMBOLS = 1 << 20
"""Symbols merged in one call; 40 bytes of scratch each. A word alone may be longer."""


class BulkMerger:
    """Merges words by a table of (left id, right id, rank, merged id), int32 [n, 4]; of equal pairs the first counts.

    `ids`: the id of every part that the table speaks of, from 0 up; those of `n_vocab` and more are no tokens. No part
    holds a space.
    """

    def __init__(self, pairs: np.ndarray, ids: dict[str, int], n_vocab: int) -> None:
        import numpy as np

        self._ids = ids
        self._n_vocab = n_vocab
        self._extra = list(ids)[n_vocab:]
        self._mask = (1 << max(4, (2 * len(pairs)).bit_length())) - 1
        self._table = np.full((self._mask + 1, 4), -1, np.int32)
        self._call(pairs, np.empty(0, np.int32))

    def merge(self, words: list[str], fallback: Callable[[str], list[int]]) -> Iterator[list[int]]:
        """The ids of each word's parts; of those that are no tokens, what `fallback` makes of their text."""
        for some in _slices(words):
            yield from self._merge(some, fallback)

    def _merge(self, words: list[str], fallback: Callable[[str], list[int]]) -> Iterator[list[int]]:
        import numpy as np

        text = " ".join(words) + " "
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        by_code = np.full(int(codes.max()) + 1, -1, np.int32)
        for char in set(text) - {" "}:
            by_code[ord(char)] = self._ids.get(char, len(self._ids) + ord(char))
        symbols = by_code[codes]
        self._call(np.empty((0, 4), np.int32), symbols)
        symbols = symbols[symbols != -2]
        all_tokens = int(symbols.max()) < self._n_vocab
        ends = np.flatnonzero(symbols == -1).tolist()
        ids, start = symbols.tolist(), 0
        for end in ends:
            yield ids[start:end] if all_tokens else self._only_tokens(ids[start:end], fallback)
            start = end + 1

    def _only_tokens(self, ids: list[int], fallback: Callable[[str], list[int]]) -> list[int]:
        return [
            token_id
            for part in ids
            for token_id in ((part,) if part < self._n_vocab else fallback(self._text_of(part)))
        ]

    def _text_of(self, part: int) -> str:
        return chr(part - len(self._ids)) if part >= len(self._ids) else self._extra[part - self._n_vocab]

    def _call(self, pairs: np.ndarray, symbols: np.ndarray) -> None:
        import numpy as np

        kernel, params = _kernel()
        n = len(symbols)
        scratch = [np.empty(n, np.int32) for _ in range(3)] + [np.empty(3 * n, np.int64)]
        block = np.zeros(1, params.dtype)
        arrays = {"pairs": pairs, "table": self._table, "symbols": symbols}
        arrays |= dict(zip(("ranks", "previous", "following", "heap"), scratch, strict=True))
        for name, array in arrays.items():
            block[name] = array.ctypes.data
        block["n_pairs"], block["mask"], block["n"] = len(pairs), self._mask, n
        kernel(block.ctypes.data, 0)


@cache
def _kernel() -> tuple[Any, Any]:
    from localllm.kernels.merge import Params
    from localllm.kernels.objects import Key, load

    key = Key("merge", "words")
    return ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(load([key])[key]), Params


def _slices(words: Iterable[str]) -> Iterator[list[str]]:
    """The words in order, as many at a time as go into one call."""
    some: list[str] = []
    size = 0
    for word in words:
        if some and size + len(word) > _MAX_SYMBOLS:
            yield some
            some, size = [], 0
        some.append(word)
        size += len(word) + 1
    if some:
        yield some

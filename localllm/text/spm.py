"""SentencePiece's byte-pair encoding: the tokenizer model `llama` of GGUF files.

Two neighbours that together are a token are merged, the highest score first, of equals the leftmost; what is no token
in the end becomes its bytes. Words that no token reaches across are merged each on its own, and cached; the new words
of a long text go to compiled code. Ids equal those of llama.cpp's `llm_tokenizer_spm_session` (src/llama-vocab.cpp):
every token may come out of merges, whatever its type.
"""

from __future__ import annotations

import re
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING

from localllm.text.bulk import BulkMerger
from localllm.text.merge import merge_long
from localllm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np

_BLOCK = "\u2581"
_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 64
_LONG_WORD, _HUGE_WORD = 64, 1 << 12
"""Symbols from which a word goes to `merge_long`, and to compiled code."""
_BULK = 1 << 16
"""Symbols of new words from which they go to compiled code."""


class SentencePieceEncoder:
    """Encodes plain text (no special tokens) and tells the bytes of plain tokens."""

    add_bos = True

    def __init__(self, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._ids = vocab.ids
        self._scores: list[float] = vocab.scores()
        self._unknown_id = vocab.special_id("unknown_token_id", 0)
        self._byte_ids: list[int] | None = None
        self._words: re.Pattern[str] | None = None
        self._cache: dict[str, list[int]] = {}
        self._merger: BulkMerger | None = None
        self._merger_chars: frozenset[str] = frozenset()

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text. What no token and no byte token covers becomes the unknown token."""
        if self._words is None:
            self._words = _word_pattern(self._vocab.tokens)
        cut = [self._words.findall(text.replace(" ", _BLOCK)) for text in texts]
        cache = self._cache
        found = {word: cache.get(word) for words in cut for word in words}
        new = [word for word, ids in found.items() if ids is None]
        found |= zip(new, self._encode_new(new), strict=True)
        if len(cache) + len(new) > _CACHED_WORDS:
            cache.clear()
        cache |= {word: found[word] for word in new[:_CACHED_WORDS] if len(word) <= _CACHED_LENGTH}
        return [list(chain.from_iterable(map(found.__getitem__, words))) for words in cut]  # type: ignore[arg-type]

    def piece(self, token_id: int) -> bytes:
        """The bytes of a plain token."""
        return self._vocab.tokens[token_id].replace(_BLOCK, " ").encode("utf-8", "surrogateescape")

    def _encode_new(self, words: list[str]) -> list[list[int]]:
        lengths = list(map(len, words))
        if sum(lengths) < _BULK and max(lengths, default=0) < _HUGE_WORD:
            return list(map(self._encode_word, words))
        return list(self._merger_for(words).merge(words, self._fallback))

    def _encode_word(self, word: str) -> list[int]:
        ids = self._ids
        parts = self._merge_short(word) if len(word) < _LONG_WORD else merge_long(word, _ByScore(ids, self._scores))
        return [token_id for part in parts for token_id in ((ids[part],) if part in ids else self._fallback(part))]

    def _merge_short(self, word: str) -> list[str]:
        """As merge.merge_short, ranked by the score of what a merge makes."""
        get, scores, nothing = self._ids.get, self._scores, float("-inf")

        def score(left: str, right: str) -> float:
            token_id = get(left + right)
            return nothing if token_id is None else scores[token_id]

        parts = list(word)
        found = [score(left, right) for left, right in pairwise(parts)]
        while found and (highest := max(found)) != nothing:
            i = found.index(highest)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
            del found[i]
            if i:
                found[i - 1] = score(parts[i - 1], parts[i])
            if i < len(found):
                found[i] = score(parts[i], parts[i + 1])
        return parts

    def _fallback(self, char: str) -> list[int]:
        """Ids for a character that is no token: its bytes where the vocabulary has all bytes, else the unknown one."""
        if self._byte_ids is None:
            self._byte_ids = [self._ids[name] for name in _BYTE_NAMES if name in self._ids]
        if len(self._byte_ids) == len(_BYTE_NAMES):
            return [self._byte_ids[byte] for byte in char.encode()]
        return [self._vocab.unknown(self._unknown_id, char)]

    def _merger_for(self, words: list[str]) -> BulkMerger:
        """A merger that knows all tokens that the characters of these words can make."""
        chars = frozenset().union(*words)
        if self._merger is None or not chars <= self._merger_chars:
            chars |= self._merger_chars
            self._merger = BulkMerger(*_pairs_of(self._vocab, self._scores, chars), self._vocab.n_vocab)
            self._merger_chars = chars
        return self._merger


_BYTE_NAMES = [f"<0x{byte:02X}>" for byte in range(256)]


class _ByScore(dict[str, float]):
    """Pairs, written with a space between them, by rank: minus the score of the token that they make."""

    def __init__(self, ids: dict[str, int], scores: list[float]) -> None:
        self._ids, self._scores = ids, scores

    def get(self, pair: str, default: float | None = None) -> float | None:  # type: ignore[override]
        token_id = self._ids.get(pair.replace(" ", ""))
        return default if token_id is None else -self._scores[token_id]


def _word_pattern(tokens: list[str]) -> re.Pattern[str]:
    """Finds words: U+2581, as often as it stands there, and what follows; more where a token holds one inside."""
    joined = "\0".join(tokens)
    if joined.count("\0") >= len(tokens):
        return re.compile("(?s:.+)")  # a token holds a NUL, and could not be told from its neighbours
    before = {inner[0] for inner in re.findall(f"[^{_BLOCK}\0]{_BLOCK}", joined)}
    word = f"{_BLOCK}*[^{_BLOCK}]*"
    if before:
        word += f"(?:(?<=[{''.join(map(re.escape, before))}]){_BLOCK}+[^{_BLOCK}]*)*"
    return re.compile(word)


def _pairs_of(vocab: Vocabulary, scores: list[float], chars: frozenset[str]) -> tuple[np.ndarray, dict[str, int]]:
    """Rows for a BulkMerger: every way to make a token of two parts, when a text holds these characters alone."""
    import numpy as np

    ids = {char: i for char, i in vocab.ids.items() if chars.issuperset(char)}
    parts = vocab.ids | {char: vocab.n_vocab + i for i, char in enumerate(sorted(chars - ids.keys()))}
    lengths = {len(token) for token in ids} | {1}
    rows: list[tuple[int, int, int, int]] = []
    get = parts.get
    left_of = sorted((token for token in ids if len(token) > 1), key=len)
    for length in sorted(lengths):
        left_of = [token for token in left_of if len(token) > length]
        lefts = map(get, [token[:length] for token in left_of], repeat(-1))
        rights = map(get, [token[length:] for token in left_of], repeat(-1))
        made = map(ids.__getitem__, left_of)
        rows += [(left, right, 0, token) for left, right, token in zip(lefts, rights, made) if left >= 0 <= right]
    pairs = np.array(rows or np.empty((0, 4)), np.int32)
    _, ranks = np.unique(-np.asarray(scores[: vocab.n_vocab], np.float64), return_inverse=True)
    pairs[:, 2] = ranks[pairs[:, 3]]
    return pairs, parts

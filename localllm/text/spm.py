"""SentencePiece's byte-pair encoding: the tokenizer model `llama` of GGUF files.

Two neighbours that together are a token are merged, the highest score first, of equals the leftmost; what is no token
in the end becomes its bytes. Words that no token reaches across are merged each on its own, and cached; the new words
of a long text go to the `sentencepiece` package, which takes longer to load than a prompt to encode. Ids equal those of
llama.cpp's `llm_tokenizer_spm_session` (src/llama-vocab.cpp): every token may come out of merges, whatever its type.
"""

from __future__ import annotations

import re
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from localllm.text.merge import merge_long
from localllm.text.sentencepiece_proto import BYTE_NAMES, processor
from localllm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

_BLOCK = "\u2581"
_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 64
_LONG_WORD = 64
"""Symbols from which a word goes to `merge_long`."""
_BULK, _MORE_BULK = 1 << 14, 1 << 11
"""Symbols of new words from which they go to the `sentencepiece` package: at first, and once it is loaded."""


class SentencePieceEncoder:
    """Encodes plain text (no special tokens) and tells the bytes of plain tokens."""

    add_bos = True

    def __init__(self, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._ids = vocab.ids
        self._scores: list[float] = vocab.scores()
        self._unknown_id = vocab.special_id("unknown_token_id", 0)
        self._words: re.Pattern[str] | None = None
        self._cache: dict[str, list[int]] = {}
        self._processor: SentencePieceProcessor | None = None

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
        if sum(map(len, words)) < (_BULK if self._processor is None else _MORE_BULK):
            return list(map(self._encode_word, words))
        if self._processor is None:
            self._processor = processor(self._vocab, self._scores)
        n_vocab = self._vocab.n_vocab
        found: list[list[int]] = self._processor.EncodeAsIds(words)
        for word, ids in zip(words, found, strict=True):
            if ids and max(ids) >= n_vocab:
                ids[:] = self._encode_word(word)  # the package makes one unknown token of several characters
        return found

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

    @cached_property
    def _byte_ids(self) -> list[int]:
        return [self._ids[name] for name in BYTE_NAMES if name in self._ids]

    @property
    def lost_bytes(self) -> bytes | None:
        """None are lost, but an unknown token may stand for several."""
        return b"" if len(self._byte_ids) == len(BYTE_NAMES) else None

    def _fallback(self, char: str) -> list[int]:
        """Ids for a character that is no token: its bytes where the vocabulary has all bytes, else the unknown one."""
        if self.lost_bytes is not None:
            return [self._byte_ids[byte] for byte in char.encode()]
        return [self._vocab.unknown(self._unknown_id, char)]


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

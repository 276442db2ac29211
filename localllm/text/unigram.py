"""Unigram: the tokenizer model `t5` of GGUF files. Of all ways to write a text in tokens, the one with the highest sum
of scores.

Before that the text is normalised: by the file's character map, then its spaces. Ids equal those of llama.cpp's
`llm_tokenizer_ugm_session` (src/llama-vocab.cpp), sums in double precision as there. The `sentencepiece` package sums
floats, which long texts notice.
"""

from __future__ import annotations

import re

from localllm.gate import vocabulary as gate
from localllm.text.charsmap import CharsMap
from localllm.text.vocabulary import NORMAL, UNUSED, USER_DEFINED, Vocabulary

_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 64
_BLOCK = "\u2581"
_UNKNOWN_PENALTY = 10.0
_WORD = re.compile(f"{_BLOCK}*[^{_BLOCK}]*")
_INNER_BLOCK = re.compile(f"[^{_BLOCK}]{_BLOCK}").search


class UnigramEncoder:
    """Encodes plain text (no special tokens) and tells the bytes of plain tokens."""

    add_bos = False
    lost_bytes = None

    def __init__(self, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._unknown_id = vocab.special_id("unknown_token_id", 2)
        self._space_prefix = vocab.flag("add_space_prefix", False)
        self._merge_spaces = vocab.flag("remove_extra_whitespaces", False)
        self._map_bytes = _charsmap_bytes(vocab)
        self._scores = vocab.scores()
        self._map: CharsMap | None = None
        self._tokens: dict[str, tuple[int, float]] = {}
        self._lengths: dict[str, list[int]] = {}
        self._unknown_score = 0.0
        self._by_words = False
        self._cache: dict[str, list[int]] = {}

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text. TokenizerError for a character in no token when no unknown token is
        named.
        """
        if not self._tokens:
            self._prepare()
        return list(map(self._encode_text, texts))

    def _encode_text(self, text: str) -> list[int]:
        if self._map is not None:
            text = self._map.apply(text)
        ids: list[int] = []
        for word in self._words(self._spaced(text)):
            found = self._cache.get(word)
            if found is None:
                found = self._best(word)
                if len(word) <= _CACHED_LENGTH:
                    if len(self._cache) >= _CACHED_WORDS:
                        self._cache.clear()
                    self._cache[word] = found
            ids += found
        unknown = self._unknown_id
        if unknown in ids:
            ids = [token_id for i, token_id in enumerate(ids) if token_id != unknown or not i or ids[i - 1] != unknown]
        return ids

    def piece(self, token_id: int) -> bytes:
        """The bytes of a plain token."""
        return self._vocab.tokens[token_id].replace(_BLOCK, " ").encode("utf-8", "surrogateescape")

    def _spaced(self, text: str) -> str:
        """Spaces as U+2581; several of them are one, and one stands before each word, where the file says so."""
        if self._merge_spaces:
            return "".join([_BLOCK + word for word in text.split(" ") if word])
        prefix = _BLOCK if self._space_prefix and text.strip(" ") else ""
        return prefix + text.replace(" ", _BLOCK)

    def _words(self, text: str) -> list[str]:
        """Parts that no token reaches across, so that each can be written on its own."""
        if not text:
            return []
        return [word for word in _WORD.findall(text) if word] if self._by_words else [text]

    def _best(self, word: str) -> list[int]:
        """Viterbi's algorithm: the best way to write each beginning of the word."""
        n = len(word)
        best = [0.0] + [-float("inf")] * n
        came = [0] * (n + 1)
        chosen: list[int | None] = [None] * (n + 1)
        get, lengths = self._tokens.get, self._lengths
        for start in range(n):
            base, single = best[start], False
            for length in lengths.get(word[start], ()):
                end = start + length
                if end > n:
                    break
                token = get(word[start:end])
                if token is not None:
                    single = single or length == 1
                    if base + token[1] > best[end]:
                        best[end], came[end], chosen[end] = base + token[1], start, token[0]
            if not single and base + self._unknown_score > best[start + 1]:
                best[start + 1], came[start + 1], chosen[start + 1] = base + self._unknown_score, start, None
        ids = []
        end = n
        while end:
            token_id = chosen[end]
            ids.append(self._vocab.unknown(self._unknown_id, word[came[end] : end]) if token_id is None else token_id)
            end = came[end]
        return ids[::-1]

    def _prepare(self) -> None:
        vocab, scores = self._vocab, self._scores
        tokens, types = vocab.tokens, vocab.types
        if self._map_bytes:
            self._map = gate.readable(vocab.place("precompiled_charsmap"), lambda: CharsMap(self._map_bytes))
        lengths: dict[str, set[int]] = {}
        found = {}
        for i in vocab.of_type(NORMAL, USER_DEFINED, UNUSED):
            token = tokens[i]
            found[token] = (i, 0.0 if types[i] == USER_DEFINED else float(scores[i]))
            lengths.setdefault(token[0], set()).add(len(token))
        gate.usable(vocab.place("token_type"), len(found), "makes no token a normal one")
        vocab.check_lengths(lengths.values())
        self._lengths = {first: sorted(sizes) for first, sizes in lengths.items()}
        self._unknown_score = min((scores[i] for i in vocab.of_type(NORMAL)), default=0.0) - _UNKNOWN_PENALTY
        self._by_words = not any(map(_INNER_BLOCK, found))
        self._tokens = found


def _charsmap_bytes(vocab: Vocabulary) -> bytes:
    """As unsigned bytes: files have them of either sign."""
    return bytes(value & 0xFF for value in vocab.array("precompiled_charsmap", int) or ())

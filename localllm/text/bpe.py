"""Byte-pair encoding by ranked merges: the tokenizer model `gpt2` of GGUF files (and `gemma4`, the same over UTF-8
text).

A text is cut into words by the file's pre-tokenizer; in each word the pair with the lowest rank is merged, the leftmost
first, until no pair is in the list of merges. Words are cached; the new words of a long text are merged all at once by
compiled code. Ids equal those of llama.cpp's `llm_tokenizer_bpe_session` (src/llama-vocab.cpp).
"""

from __future__ import annotations

from functools import cached_property, partial
from itertools import chain, repeat
from operator import add, contains
from typing import TYPE_CHECKING

from localllm.gate import vocabulary as gate
from localllm.text.bulk import BulkMerger
from localllm.text.bytelevel import BYTE_TO_CHAR, to_alphabet, to_alphabets, to_bytes
from localllm.text.merge import merge_long, merge_short
from localllm.text.pretokenizers import PreTokenizer, pretokenizer
from localllm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import regex

_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 64
_LONG_WORD = 64
"""Symbols from which it pays not to look for the lowest rank again after each merge."""
_BULK, _MORE_BULK = 1 << 17, 1 << 12
"""Symbols of new words from which they go to compiled code: at first, and once that is loaded."""
_MAX_MERGES = 1 << 22
_REVERSE = 0x400  # regex.REVERSE, without importing it


class BytePairEncoder:
    """Encodes plain text (no special tokens) and tells the bytes of plain tokens."""

    def __init__(self, vocab: Vocabulary, pre: PreTokenizer) -> None:
        self._vocab = vocab
        self._ids = vocab.ids
        self._merges = _merges_of(vocab)
        self._ranks: dict[str, int] | None = None
        self._patterns: list[regex.Pattern[str]] | None = None
        self._pre = pre
        self._cache: dict[str, list[int]] = {}
        self._merger: BulkMerger | None = None
        self.add_bos = pre.add_bos
        self.lowercase = False

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text."""
        if self.lowercase:
            texts = ["".join([char.lower()[0] for char in text]) for text in texts]
        if self._pre.spaces_as_blocks:
            texts = [text.replace(" ", "\u2581") for text in texts]
        cut = list(map(self._words, texts))
        if sum(map(len, texts)) >= _MORE_BULK and (many := self._encode_many(cut)):
            return [list(chain.from_iterable(map(many.__getitem__, words))) for words in cut]
        return list(map(self._encode_words, cut))

    def _encode_words(self, words: list[str]) -> list[int]:
        ids: list[int] = []
        cache = self._cache
        for word in words:
            found = cache.get(word)
            if found is None:
                found = self._encode_word(word)
                if len(word) <= _CACHED_LENGTH:
                    if len(cache) >= _CACHED_WORDS:
                        cache.clear()
                    cache[word] = found
            ids += found
        return ids

    def piece(self, token_id: int) -> bytes:
        """The bytes of a plain token."""
        token = self._vocab.tokens[token_id]
        if not self._pre.characters:
            return to_bytes(token)
        if self._pre.spaces_as_blocks:
            token = token.replace("\u2581", " ")
        return token.encode("utf-8", "surrogateescape")

    def _words(self, text: str) -> list[str]:
        if self._patterns is None:
            import regex

            self._patterns = [regex.compile(pattern) for pattern in self._pre.patterns]
        words = [text]
        for pattern in self._patterns:
            split = pattern.findall if self._pre.drop_gaps else partial(_split, pattern)
            words = [part for word in words for part in split(word)]
        return words

    def _encode_many(self, cut: list[list[str]]) -> dict[str, list[int]] | None:
        """The ids of each word, by compiled code; None where so little is new that `_encode_word` is quicker."""
        known = self._cache.get
        found: dict[str, list[int]] = {}
        new: list[str] = []
        for word in dict.fromkeys(chain.from_iterable(cut)):
            if (ids := known(word)) is None:
                new.append(word)
            else:
                found[word] = ids
        if sum(map(len, new)) < (_BULK if self._merger is None else _MORE_BULK):
            return None
        self._merger = merger = self._merger or BulkMerger(*_pairs_of(self._merges, self._ids), self._vocab.n_vocab)
        todo = dict(zip(new, new if self._pre.characters else to_alphabets(new), strict=True))
        for word in [word for word, symbols in todo.items() if self._is_whole(word, symbols)]:
            found[word] = [self._ids[todo.pop(word)]]
        found |= zip(todo, merger.merge(list(todo.values()), self._fallback), strict=True)
        room = _CACHED_WORDS - len(self._cache)
        self._cache |= {word: found[word] for word in new[: max(0, room)] if len(word) <= _CACHED_LENGTH}
        return found

    def _encode_word(self, word: str) -> list[int]:
        if self._ranks is None:
            self._ranks = _ranks_of(self._merges)
        symbols = word if self._pre.characters else to_alphabet(word)
        if self._is_whole(word, symbols):
            return [self._ids[symbols]]
        parts = (merge_short if len(symbols) < _LONG_WORD else merge_long)(symbols, self._ranks)
        ids = self._ids
        if all(part in ids for part in parts):
            return [ids[part] for part in parts]
        return [token_id for part in parts for token_id in ([ids[part]] if part in ids else self._fallback(part))]

    def _is_whole(self, word: str, symbols: str) -> bool:
        """Whether a word is a token that needs no merges."""
        if symbols not in self._ids:
            return False
        newlines = self._pre.whole_newlines and not word.strip("\n")
        return len(symbols) == 1 or self._pre.ignore_merges or newlines

    @cached_property
    def lost_bytes(self) -> bytes | None:
        """What `_fallback` leaves out: bytes that are no tokens, or anything that merges make and that is no token."""
        pre, ids = self._pre, self._ids
        if pre.drop_gaps or not (pre.characters or ids.keys() >= {merge.replace(" ", "", 1) for merge in self._merges}):
            return None
        name = "<0x{:02X}>".format if pre.characters else BYTE_TO_CHAR.__getitem__
        return bytes(byte for byte in range(256) if name(byte) not in ids)

    def _fallback(self, symbol: str) -> list[int]:
        """Ids for a symbol that is no token: its bytes, as far as the vocabulary has them.

        llama.cpp leaves out the others, too.
        """
        if self._pre.characters:
            names = [f"<0x{byte:02X}>" for byte in symbol.encode()]
        else:
            names = [char for char in symbol if char.isascii()]
        return [self._ids[name] for name in names if name in self._ids]


def gpt2(vocab: Vocabulary) -> BytePairEncoder:
    """The encoder of `tokenizer.ggml.model = gpt2`, with the pre-tokenizer that the file names."""
    name = gate.pretokenizer_name(vocab.place("pre"), vocab.metadata.get("tokenizer.ggml.pre"))
    return BytePairEncoder(vocab, pretokenizer(name or None, vocab.path))


def gemma4(vocab: Vocabulary) -> BytePairEncoder:
    """The encoder of `tokenizer.ggml.model = gemma4`."""
    return BytePairEncoder(vocab, pretokenizer("gemma4"))


def whitespace(vocab: Vocabulary) -> BytePairEncoder:
    """The encoder of `tokenizer.ggml.model = whitespace`: words as they stand, without the white space."""
    encoder = BytePairEncoder(vocab, pretokenizer("whitespace"))
    encoder.lowercase = vocab.flag("normalizer.lowercase", False)
    return encoder


def _merges_of(vocab: Vocabulary) -> list[str]:
    merges = vocab.array("merges", str)
    if merges is None and vocab.metadata.get("tokenizer.ggml.pre") == "kimi-k2":
        return []
    place, texts = vocab.place("merges"), merges or []
    gate.merges(place, None if merges is None else len(texts))
    gate.merge_form(place, all(map(contains, texts, repeat(" "))), texts)
    return texts


def _ranks_of(merges: list[str]) -> dict[str, int]:
    """Rank by pair, written as in the file.

    No symbol holds a space: the byte alphabet has none, and `gemma4` writes U+2581.
    """
    ranks = dict(zip(merges, range(len(merges)), strict=True))
    if len(ranks) < len(merges):
        ranks = dict(zip(reversed(merges), range(len(merges) - 1, -1, -1), strict=True))  # of equals, the first counts
    return ranks


def _pairs_of(merges: list[str], ids: dict[str, int]) -> tuple[np.ndarray, dict[str, int]]:
    """Rows for a BulkMerger, and the ids they speak of: those of tokens, and more for parts that are none."""
    import numpy as np

    parts = " ".join(merges).split(" ")
    if len(parts) != 2 * len(merges):  # a merge with two spaces; its second part holds one, and no word does
        parts = [part for merge in merges for part in merge.split(" ", 1)]
    columns = [parts[::2], parts[1::2], list(map(add, parts[::2], parts[1::2]))]
    try:
        rows = [list(map(ids.__getitem__, column)) for column in columns]
    except KeyError:
        extra = set(chain.from_iterable(columns)) - ids.keys()
        ids = ids | {part: len(ids) + i for i, part in enumerate(sorted(extra))}
        rows = [list(map(ids.__getitem__, column)) for column in columns]
    pairs = np.empty((len(merges), 4), np.int32)
    pairs[:, 0], pairs[:, 1], pairs[:, 3] = rows
    pairs[:, 2] = np.arange(len(merges))
    return pairs, ids


def _split(pattern: regex.Pattern[str], text: str) -> list[str]:
    """Matches of `pattern` and the gaps between them, in order; also for patterns that search from the end, `(?r)`."""
    words: list[str] = pattern.findall(text)
    backwards = pattern.flags & _REVERSE
    if sum(map(len, words)) == len(text):
        return words[::-1] if backwards else words
    words, end = [], 0
    matches = pattern.finditer(text)
    for match in reversed(list(matches)) if backwards else matches:
        if match.start() > end:
            words.append(text[end : match.start()])
        words.append(match[0])
        end = match.end()
    if end < len(text):
        words.append(text[end:])
    return words

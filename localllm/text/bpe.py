"""Byte-pair encoding by ranked merges: the tokenizer model `gpt2` of GGUF files (and `gemma4`, the same over UTF-8
text).

A text is cut into words by the file's pre-tokenizer; in each word the pair with the lowest rank is merged, the leftmost
first, until no pair is in the list of merges. Words are cached. Ids equal those of llama.cpp's
`llm_tokenizer_bpe_session` (src/llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from localllm.text.bytelevel import to_alphabet, to_bytes
from localllm.text.merge import merge_long, merge_short
from localllm.text.pretokenizers import PreTokenizer, pretokenizer
from localllm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import regex

_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 64
_LONG_WORD = 64
"""Symbols from which it pays not to look for the lowest rank again after each merge."""
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
        self.add_bos = pre.add_bos

    def encode(self, text: str) -> list[int]:
        """Ids of a text without lone surrogates."""
        if self._ranks is None:
            self._ranks = _ranks_of(self._merges)
        if self._pre.spaces_as_blocks:
            text = text.replace(" ", "\u2581")
        ids: list[int] = []
        cache = self._cache
        for word in self._words(text):
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
        if not self._pre.spaces_as_blocks:
            return to_bytes(token)
        return token.replace("\u2581", " ").encode("utf-8", "surrogateescape")

    def _words(self, text: str) -> Iterable[str]:
        if self._patterns is None:
            import regex

            self._patterns = [regex.compile(pattern) for pattern in self._pre.patterns]
        words = [text]
        for pattern in self._patterns:
            words = [part for word in words for part in _split(pattern, word)]
        return words

    def _encode_word(self, word: str) -> list[int]:
        symbols = word if self._pre.spaces_as_blocks else to_alphabet(word)
        whole = self._ids.get(symbols)
        if whole is not None and (len(symbols) == 1 or self._is_word(word)):
            return [whole]
        parts = (merge_short if len(symbols) < _LONG_WORD else merge_long)(symbols, self._ranks or {})
        ids = self._ids
        if all(part in ids for part in parts):
            return [ids[part] for part in parts]
        return [token_id for part in parts for token_id in ([ids[part]] if part in ids else self._fallback(part))]

    def _is_word(self, word: str) -> bool:
        """Whether a word that is a token needs no merges."""
        # Gemma 4's merges do not reach its tokens of newlines: https://github.com/ggml-org/llama.cpp/pull/21343
        return self._pre.ignore_merges or (self._pre.spaces_as_blocks and not word.strip("\n"))

    def _fallback(self, symbol: str) -> list[int]:
        """Ids for a symbol that is no token: its bytes, as far as the vocabulary has them.

        llama.cpp leaves out the others, too.
        """
        if self._pre.spaces_as_blocks:
            names = [f"<0x{byte:02X}>" for byte in symbol.encode()]
        else:
            names = [char for char in symbol if char.isascii()]
        return [self._ids[name] for name in names if name in self._ids]


def gpt2(vocab: Vocabulary) -> BytePairEncoder:
    """The encoder of `tokenizer.ggml.model = gpt2`, with the pre-tokenizer that the file names."""
    name = vocab.metadata.get("tokenizer.ggml.pre")
    if name is not None and not isinstance(name, str):
        raise vocab.error("pre", f"is {name!r:.40}, not a name")
    return BytePairEncoder(vocab, pretokenizer(name or None, vocab.path))


def gemma4(vocab: Vocabulary) -> BytePairEncoder:
    """The encoder of `tokenizer.ggml.model = gemma4`."""
    encoder = BytePairEncoder(vocab, pretokenizer("gemma4"))
    encoder.add_bos = True  # https://github.com/ggml-org/llama.cpp/pull/21500
    return encoder


def _merges_of(vocab: Vocabulary) -> list[str]:
    merges = vocab.array("merges", str)
    if merges is None:
        raise vocab.error("merges", "is missing: byte-pair encoding needs it")
    if len(merges) > _MAX_MERGES:
        raise vocab.error("merges", f"has {len(merges)} entries, at most {_MAX_MERGES} are taken")
    wrong = [i for i, merge in enumerate(merges) if " " not in merge]
    if wrong:
        what = f"entry {wrong[0]} is {merges[wrong[0]]!r:.40}"
        raise vocab.error("merges", f"{what}: a merge is two tokens with a space between them")
    return merges


def _ranks_of(merges: list[str]) -> dict[str, int]:
    """Rank by pair, written as in the file.

    No symbol holds a space: the byte alphabet has none, and `gemma4` writes U+2581.
    """
    ranks = dict(zip(merges, range(len(merges)), strict=True))
    if len(ranks) < len(merges):
        ranks = dict(zip(reversed(merges), range(len(merges) - 1, -1, -1), strict=True))  # of equals, the first counts
    return ranks


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

"""WordPiece: the tokenizer model `bert` of GGUF files.

A text is normalised (white space, control characters, case, accents), cut into words, and each word is covered from
left to right by the longest tokens; a word that cannot be covered is the unknown token. In GGUF files the first token
of a word begins with U+2581, and the others have lost their `##`. Ids equal those of llama.cpp's
`llm_tokenizer_wpm_session` (src/llama-vocab.cpp).
"""

from __future__ import annotations

import unicodedata

from localllm.text.vocabulary import Vocabulary

_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 64
_BLOCK = "\u2581"

# Each character is a word of its own. The fifth range begins where Hugging Face's does, not where the block does.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPieceEncoder:
    """Encodes plain text (no special tokens) and tells the bytes of plain tokens."""

    add_bos = True
    lost_bytes = None

    def __init__(self, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._ids = vocab.ids
        self._unknown_id = vocab.special_id("unknown_token_id", 100)
        lowercase = vocab.flag("normalizer.lowercase", True)
        self._table = _Normaliser(lowercase, vocab.flag("normalizer.strip_accents", lowercase))
        self._lengths: dict[str, list[int]] | None = None
        self._cache: dict[str, list[int]] = {}

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text. TokenizerError for a word to cover when no unknown token is named."""
        return list(map(self._encode_text, texts))

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = []
        cache = self._cache
        for word in text.translate(self._table).split(" "):
            found = cache.get(word)
            if found is None:
                found = self._encode_word(word) if word else []
                if len(word) <= _CACHED_LENGTH:
                    if len(cache) >= _CACHED_WORDS:
                        cache.clear()
                    cache[word] = found
            ids += found
        return ids

    def piece(self, token_id: int) -> bytes:
        """The bytes of a plain token."""
        return self._vocab.tokens[token_id].replace(_BLOCK, " ").encode("utf-8", "surrogateescape")

    def _encode_word(self, word: str) -> list[int]:
        if self._lengths is None:
            lengths = _lengths_of(self._vocab.tokens)
            self._vocab.check_lengths(lengths.values())
            self._lengths = lengths
        word = _BLOCK + word
        ids: list[int] = []
        start, get, lengths = 0, self._ids.get, self._lengths
        while start < len(word):
            for length in lengths.get(word[start], ()):
                token_id = get(word[start : start + length])
                if token_id is not None and start + length <= len(word):
                    break
            else:
                return [self._vocab.unknown(self._unknown_id, word)]
            ids.append(token_id)
            start += length
        return ids


class _Normaliser(dict[int, str]):
    """Code point -> what stands for it; spaces cut words. Filled as code points are met."""

    def __init__(self, lowercase: bool, strip_accents: bool) -> None:
        self._lowercase, self._strip_accents = lowercase, strip_accents

    def __missing__(self, code: int) -> str:
        text = self[code] = self._normalised(chr(code))
        return text

    def _normalised(self, char: str) -> str:
        if self._strip_accents:
            char = unicodedata.normalize("NFD", char)[0]  # llama.cpp uses the first only
        category = unicodedata.category(char)
        if char.isspace() and char not in "\x1c\x1d\x1e\x1f":
            return " "
        if char == "\ufffd" or category in ("Cc", "Cf", "Cs", "Co"):
            return ""
        if self._strip_accents and category[0] == "M":
            return ""
        alone = category[0] == "P" or (category[0] == "S" and char < "\x7f") or _is_ideograph(ord(char))
        if self._lowercase:
            char = char.lower()[0]
        return f" {char} " if alone else char


def _is_ideograph(code: int) -> bool:
    return any(first <= code <= last for first, last in _IDEOGRAPHS)


def _lengths_of(tokens: list[str]) -> dict[str, list[int]]:
    """First character -> lengths of the tokens that begin with it, the longest first."""
    lengths: dict[str, set[int]] = {}
    for token in tokens:
        lengths.setdefault(token[0], set()).add(len(token))
    return {first: sorted(found, reverse=True) for first, found in lengths.items()}

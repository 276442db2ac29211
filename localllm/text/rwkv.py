"""RWKV's tokenizer: the model `rwkv` of GGUF files. At each byte, the longest token.

Tokens are bytes; the file writes them as Python does, with `\\n`, `\\r`, `\\t`, `\\xHH` and a backslash before anything
else. Ids equal those of llama.cpp's `llm_tokenizer_rwkv_session` (src/llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from localllm.gate import vocabulary as gate
from localllm.text.vocabulary import Vocabulary

T = TypeVar("T")
_ESCAPES = {"t": b"\t", "n": b"\n", "r": b"\r"}
_HEX = frozenset("0123456789abcdefABCDEF")


class RwkvEncoder:
    """Encodes plain text (no special tokens) and tells the bytes of plain tokens."""

    add_bos = False
    lost_bytes = None

    def __init__(self, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._unknown_id = vocab.special_id("unknown_token_id")
        self._ids: dict[bytes, int] = {}
        self._lengths: dict[bytes, list[int]] = {}

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text. TokenizerError for a byte in no token when no unknown one is named."""
        if not self._lengths:
            self._prepare()
        return [self._encode_bytes(text.encode()) for text in texts]

    def _encode_bytes(self, data: bytes) -> list[int]:
        ids: list[int] = []
        start, n, get, lengths = 0, len(data), self._ids.get, self._lengths
        while start < n:
            for length in lengths.get(data[start : start + 2], (1,)):
                token_id = get(data[start : start + length])
                if token_id is not None and start + length <= n:
                    break
            else:
                token_id, length = self._vocab.unknown(self._unknown_id, data[start : start + 1]), 1
            ids.append(token_id)
            start += length
        return ids

    def piece(self, token_id: int) -> bytes:
        """The bytes of a plain token."""
        return self._unescaped(lambda: unescape(self._vocab.tokens[token_id]))

    def _unescaped(self, read: Callable[[], T]) -> T:
        return gate.readable(self._vocab.place("tokens"), read, "holds ")

    def _prepare(self) -> None:
        """Tokens by their bytes, and which lengths tokens have that begin with two given bytes, the longest first."""
        ids = self._unescaped(lambda: {unescape(token): i for i, token in enumerate(self._vocab.tokens)})
        lengths: dict[bytes, set[int]] = {}
        for token in ids:
            if len(token) > 1:
                lengths.setdefault(token[:2], {1}).add(len(token))
        self._vocab.check_lengths(lengths.values())
        self._ids = ids
        self._lengths = {head: sorted(found, reverse=True) for head, found in lengths.items()} or {b"": [1]}


def unescape(token: str) -> bytes:
    """The bytes that an escaped token stands for. ValueError for an escape that does not end."""
    if "\\" not in token:
        return token.encode("utf-8", "surrogateescape")
    out = bytearray()
    i = 0
    while i < len(token):
        char = token[i]
        i += 1
        if char != "\\":
            out += char.encode("utf-8", "surrogateescape")
            continue
        escaped = token[i : i + 1]
        i += 1
        if escaped == "x":
            digits = token[i : i + 2]
            i += 2
            if len(digits) != 2 or not _HEX.issuperset(digits):
                raise ValueError(f"{token[:40]!r}, whose \\x has no two hexadecimal digits")
            out.append(int(digits, 16))
        elif not escaped:
            raise ValueError(f"{token[:40]!r}, which ends in a backslash")
        else:
            out += _ESCAPES.get(escaped, escaped.encode("utf-8", "surrogateescape"))
    return bytes(out)

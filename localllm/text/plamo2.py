"""PLaMo 2: the tokenizer model `plamo2` of GGUF files (PLaMo 2 and 3, Preferred Networks). Of all ways to write a text
in tokens, the one with the highest sum of scores; a character that is cheaper so is written in bytes.

Ids equal those of `llm_tokenizer_plamo2` (llama.cpp, llama-vocab.cpp), which walks a table of suffixes (Aho-Corasick
from the text's end): at each place it finds the tokens that begin there, the longest first. Here they are looked up by
their lengths. Scores are integers as there, so that sums are exact and equals are decided alike.
"""

from __future__ import annotations

import math
import struct

from localllm.gate import vocabulary as gate
from localllm.text.vocabulary import BYTE, Vocabulary

_UNKNOWN = -10_000_000
"""The score of a character in bytes."""
_INVALID = -20_000_000
"""Tokens whose score is not above are not used."""
_BYTE_ORDER_MARK = "\ufeff"


class Plamo2Encoder:
    """Encodes plain text (no special tokens) and tells the bytes of plain tokens."""

    add_bos = False
    lost_bytes = None

    def __init__(self, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._scores = vocab.scores()
        self._byte_ids = _byte_ids(vocab)
        self._tokens: dict[str, tuple[int, int]] = {}
        self._lengths: dict[str, list[int]] = {}

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text; a byte order mark at its beginning is left out."""
        if not self._tokens:
            self._prepare()
        return [self._best(text.removeprefix(_BYTE_ORDER_MARK)) for text in texts]

    def piece(self, token_id: int) -> bytes:
        """The bytes of a plain token."""
        return self._vocab.tokens[token_id].encode("utf-8", "surrogateescape")

    def _best(self, text: str) -> list[int]:
        """The best way to write each end of the text, from the last character on; of equals the longest first token."""
        n = len(text)
        best = [0] * (n + 1)
        chosen: list[tuple[int, int]] = [(0, -1)] * n
        get, lengths = self._tokens.get, self._lengths
        for start in range(n - 1, -1, -1):
            most, taken = best[start + 1] + _UNKNOWN, (1, -1)
            found = False
            for length in lengths.get(text[start], ()):
                token = get(text[start : start + length]) if start + length <= n else None
                if token is None:
                    continue
                total = best[start + length] + token[1]
                if total > most or (total == most and not found):
                    most, taken, found = total, (length, token[0]), True
            best[start], chosen[start] = most, taken
        ids: list[int] = []
        at = 0
        while at < n:
            length, token_id = chosen[at]
            ids += [self._byte_ids[b] for b in text[at].encode()] if token_id < 0 else (token_id,)
            at += length
        return ids

    def _prepare(self) -> None:
        lengths: dict[str, set[int]] = {}
        for i, token in enumerate(self._vocab.tokens):
            if self._vocab.types[i] == BYTE:
                continue
            score = _rounded(self._scores[i])
            if score > _INVALID:
                self._tokens[token] = i, score
                lengths.setdefault(token[0], set()).add(len(token))
        self._vocab.check_lengths(lengths.values())
        self._lengths = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}
        gate.usable(self._vocab.place("scores"), len(self._tokens), f"holds none above {_INVALID / 1e4}")


def _rounded(score: float) -> int:
    """In ten thousandths; halves are rounded away from 0."""
    scaled = abs(struct.unpack("<f", struct.pack("<f", score))[0] * 1e4)
    whole = math.floor(scaled)
    return int(math.copysign(whole + (scaled - whole >= 0.5), score))


def _byte_ids(vocab: Vocabulary) -> list[int]:
    """The token of each byte, of which none may be missing."""
    ids = {vocab.tokens[i].lower(): i for i in vocab.of_type(BYTE)}
    names = [f"<0x{byte:02x}>" for byte in range(256)]
    gate.byte_tokens(vocab.place("tokens"), [name for name in names if name not in ids])
    return [ids[name] for name in names]

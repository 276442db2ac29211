"""Cuts special tokens out of a text before the model sees it.

The order is llama.cpp's (`tokenizer_st_partition`): the longest token first, everywhere in the text, then the next.
(Hugging Face's tokenizers go from left to right instead; the two differ only where special tokens overlap.)
"""

from __future__ import annotations

import re
from collections.abc import Collection

from localllm.text.vocabulary import CONTROL, UNKNOWN, USER_DEFINED, Vocabulary

_SPACE = " \t\n\v\f\r"  # isspace() of C, as in llama.cpp
_LONG = 64
"""Longer tokens, which odd vocabularies alone have, are looked for one by one: slices to compare would be quadratic."""


class Specials:
    """The special tokens of a vocabulary. `lstrip`, `rstrip`: ids that swallow the white space before or after them."""

    def __init__(self, vocab: Vocabulary, lstrip: Collection[int] = (), rstrip: Collection[int] = ()) -> None:
        self._always = _Finder(vocab, USER_DEFINED)
        self._parsed = _Finder(vocab, USER_DEFINED, CONTROL, UNKNOWN)
        self._lstrip = frozenset(lstrip)
        self._rstrip = frozenset(rstrip)
        self.strip = bool(self._lstrip or self._rstrip)
        """White space may get lost."""

    def cut(self, text: str, parse_special: bool) -> list[str | int]:
        """The text as a list of plain pieces (str, never empty) and ids of special tokens.

        User-defined tokens are always cut out, control and unknown tokens only with `parse_special`.
        """
        tokens = (self._parsed if parse_special else self._always).found_in(text)
        pieces: list[str | int] = []
        todo: list[tuple[str | int, int]] = [(text, 0)] if text else []
        while todo:
            piece, tried = todo.pop()
            if isinstance(piece, int):
                pieces.append(piece)
                continue
            for k in range(tried, len(tokens)):
                if tokens[k][0] in piece:
                    todo += [(part, k + 1) for part in reversed(self._split(piece, *tokens[k]))]
                    break
            else:
                pieces.append(piece)
        return pieces

    def _split(self, text: str, token: str, token_id: int) -> list[str | int]:
        pieces: list[str | int] = []
        parts = text.split(token)
        for i, part in enumerate(parts):
            if i and token_id in self._rstrip:
                part = part.lstrip(_SPACE)
            if i + 1 < len(parts) and token_id in self._lstrip:
                part = part.rstrip(_SPACE)
            if part:
                pieces.append(part)
            if i + 1 < len(parts):
                pieces.append(token_id)
        return pieces


class _Finder:
    """Finds which tokens of some types occur in a text.

    Vocabularies hold thousands of special tokens, texts few: look once, not once a token.
    """

    def __init__(self, vocab: Vocabulary, *types: int) -> None:
        self._vocab = vocab
        self._types = types
        self._ids: dict[str, int] | None = None
        self._start: re.Pattern[str] | None = None
        self._lengths: dict[str, list[int]] = {}
        self._long: list[str] = []
        self._runs: dict[str, list[str]] = {}

    def found_in(self, text: str) -> list[tuple[str, int]]:
        """(token, id) of each token that occurs, the longest in UTF-8 first, equals by id."""
        if self._ids is None:
            self._ids = self._prepare()
        ids, lengths = self._ids, self._lengths
        found = {token for token in self._long if token in text}
        for runs in self._runs.values():
            longest = next((k for k, token in enumerate(runs) if token in text), len(runs))
            found.update(runs[longest:])  # it holds the shorter ones
        for match in self._start.finditer(text) if self._start else ():
            i = match.start()
            for length in lengths[text[i]]:
                if (token := text[i : i + length]) in ids:
                    found.add(token)
        return sorted(((token, ids[token]) for token in found), key=_longest_first)

    def _prepare(self) -> dict[str, int]:
        tokens = self._vocab.tokens
        ids = {tokens[i]: i for i in self._vocab.of_type(*self._types)}
        lengths: dict[str, set[int]] = {}
        for token in ids:
            if len(token) > 1 and not token.strip(token[0]):
                self._runs.setdefault(token[0], []).append(token)
            elif len(token) > _LONG:
                self._long.append(token)
            else:
                lengths.setdefault(token[0], set()).add(len(token))
        for runs in self._runs.values():
            runs.sort(key=len, reverse=True)
        self._lengths = {first: sorted(sizes) for first, sizes in lengths.items()}
        if lengths:
            self._start = re.compile("[" + "".join(map(re.escape, lengths)) + "]")
        return ids


def _longest_first(pair: tuple[str, int]) -> tuple[int, int]:
    return -len(pair[0].encode("utf-8", "surrogateescape")), pair[1]

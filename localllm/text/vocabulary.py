"""The vocabulary of a model file, checked once: everything after this gate may trust it.

The keys are those of the GGUF specification (`tokenizer.ggml.*`); token types are `enum llama_token_type`. Limits and
defaults follow llama.cpp's `llama_vocab::impl::load` (src/llama-vocab.cpp), except where it guesses: see `_special_id`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from localllm.errors import TokenizerError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_PREFIX = "tokenizer.ggml."
_MAX_LENGTHS = 512
"""RWKV's have 60."""


class Vocabulary:
    """Tokens by id and ids by token.

    tokens [n_vocab] str, types [n_vocab] one byte each (`NORMAL`, `CONTROL`, ...), scores [n_vocab] float or None, ids:
    token -> id. Raises TokenizerError, naming key, value and limit, for missing, short or wrongly typed arrays and for
    a token that stands twice.
    """

    def __init__(self, metadata: Mapping[str, Any], path: str = "") -> None:
        self.metadata = metadata
        self.path = path
        tokens = self.array("tokens", str)
        if not tokens:
            raise self.error("tokens", "is missing or empty: this file has no vocabulary")
        if "" in tokens:
            # llama.cpp's names for empty tokens, which would otherwise all be the same one
            tokens = [token or f"[EMPTY_{i}]" for i, token in enumerate(tokens)]
        self.tokens: list[str] = tokens
        self.n_vocab = len(tokens)
        self.ids = dict(zip(tokens, range(self.n_vocab), strict=True))
        if len(self.ids) != self.n_vocab:
            twice = next(token for i, token in enumerate(tokens) if self.ids[token] != i)
            raise self.error("tokens", f"holds {twice[:40]!r} twice")
        self.types = self._types()

    def error(self, key: str, text: str) -> TokenizerError:
        """A TokenizerError that names the file and the key."""
        return TokenizerError(f"{self.path + ': ' if self.path else ''}{_PREFIX}{key} {text}")

    def array(self, key: str, kind: type | tuple[type, ...]) -> list[Any] | None:
        """The array at `tokenizer.ggml.<key>`, every element of `kind`; None when the file has none."""
        value = self.metadata.get(_PREFIX + key)
        if value is None:
            return None
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__"):
            raise self.error(key, f"is {type(value).__name__}, not an array")
        items = value if type(value) is list else list(value)
        wanted = kind if isinstance(kind, tuple) else (kind,)
        for found in set(map(type, items)):
            if found not in wanted:
                raise self.error(key, f"holds {found.__name__}, not {' or '.join(k.__name__ for k in wanted)}")
        return items

    def flag(self, key: str, default: bool) -> bool:
        """The boolean at `tokenizer.ggml.<key>`."""
        value = self.metadata.get(_PREFIX + key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"is {value!r:.40}, not a boolean")
        return value

    def special_id(self, key: str, default: int | None = None) -> int | None:
        """The id at `tokenizer.ggml.<key>`, else `default` where that token is one that a file marks as special, else
        None.

        llama.cpp takes its default (11 for byte-level BPE) whatever stands there; a comma that ends every answer is the
        result.
        """
        value = self.metadata.get(_PREFIX + key)
        if value is None:
            if (
                default is not None
                and default < self.n_vocab
                and self.types[default] in (CONTROL, UNKNOWN, USER_DEFINED)
            ):
                return default
            return None
        if type(value) is not int or not 0 <= value < self.n_vocab:
            raise self.error(key, f"is {value!r:.40}: ids go from 0 to {self.n_vocab - 1}")
        return value

    def unknown(self, unknown_id: int | None, what: str | bytes) -> int:
        """`unknown_id`, which stands for `what`; TokenizerError where there is none."""
        if unknown_id is None:
            raise self.error("unknown_token_id", f"is missing, and {what[:40]!r} is in no token: it cannot be encoded")
        return unknown_id

    def check_lengths(self, lengths: Iterable[Collection[int]]) -> None:
        """Refuse what would make a search for the longest token at each place of a text endless.

        `lengths`: which ones the tokens have that begin alike.
        """
        most = max(map(len, lengths), default=0)
        if most > _MAX_LENGTHS:
            raise self.error("tokens", f"holds tokens of {most} lengths that begin alike, at most {_MAX_LENGTHS}")

    def scores(self) -> list[float]:
        """One finite score a token; zeros when the file has none."""
        scores = self.array("scores", (float, int))
        if scores is None:
            return [0.0] * self.n_vocab
        self._check_length("scores", scores)
        total = sum(map(abs, scores))
        if not total < float("inf"):
            raise self.error("scores", "holds a value that is not finite")
        return scores

    def of_type(self, *types: int) -> Iterator[int]:
        """Ids whose type is one of `types`, ascending."""
        wanted = frozenset(types)
        if wanted.isdisjoint(self.types):
            return iter(())
        return (i for i, kind in enumerate(self.types) if kind in wanted)

    def _types(self) -> bytearray:
        types = self.array("token_type", int)
        if types is None:
            return bytearray([NORMAL]) * self.n_vocab
        self._check_length("token_type", types)
        try:
            return bytearray(types[: self.n_vocab])
        except ValueError:
            wrong = next(t for t in types if not 0 <= t < 256)
            raise self.error("token_type", f"holds {wrong}: types go from {NORMAL} to {BYTE}") from None

    def _check_length(self, key: str, items: list[Any]) -> None:
        if len(items) < self.n_vocab:
            raise self.error(key, f"has {len(items)} entries for {self.n_vocab} tokens")

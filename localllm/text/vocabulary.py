"""The vocabulary of a model file, checked once: everything after this gate may trust it.

The keys are those of the GGUF specification (`tokenizer.ggml.*`); token types are `enum llama_token_type`. Limits and
defaults follow llama.cpp's `llama_vocab::impl::load` (src/llama-vocab.cpp), except where it guesses: see `_special_id`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import compress
from typing import Any

from localllm.gate import vocabulary as gate
from localllm.gate.check import Place

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_PREFIX = "tokenizer.ggml."


class Vocabulary:
    """Tokens by id and ids by token.

    tokens [n_vocab] str, types [n_vocab] one byte each (`NORMAL`, `CONTROL`, ...), scores [n_vocab] float or None, ids:
    token -> id. Raises TokenizerError, naming key, value and limit, for missing, short or wrongly typed arrays and for
    a token that stands twice.
    """

    def __init__(self, metadata: Mapping[str, Any], path: str = "") -> None:
        self.metadata = metadata
        self.path = path
        tokens = self.array("tokens", str) or []
        place = self.place("tokens")
        gate.tokens(place, len(tokens))
        gate.token_length(place, max(map(len, tokens)))
        if "" in tokens:
            # llama.cpp's names for empty tokens, which would otherwise all be the same one
            tokens = [token or f"[EMPTY_{i}]" for i, token in enumerate(tokens)]
        self.tokens: list[str] = tokens
        self.n_vocab = len(tokens)
        self.ids = dict(zip(tokens, range(self.n_vocab), strict=True))
        gate.unique(place, tokens, self.ids)
        self.types = self._types()

    def place(self, key: str) -> Place:
        """Where `tokenizer.ggml.<key>` stands, for checks."""
        return Place(self.path, _PREFIX + key)

    def array(self, key: str, kind: type | tuple[type, ...]) -> list[Any] | None:
        """The array at `tokenizer.ggml.<key>`, every element of `kind`; None when the file has none."""
        value = self.metadata.get(_PREFIX + key)
        if value is None:
            return None
        is_array = hasattr(value, "__len__") and not isinstance(value, str | bytes | Mapping)
        gate.array(self.place(key), is_array, type(value).__name__)
        items = value if type(value) is list else list(value)
        gate.elements(self.place(key), set(map(type, items)), kind if isinstance(kind, tuple) else (kind,))
        return items

    def flag(self, key: str, default: bool) -> bool:
        """The boolean at `tokenizer.ggml.<key>`."""
        return gate.flag(self.place(key), self.metadata.get(_PREFIX + key, default))

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
        return gate.special_id(self.place(key), value, self.n_vocab)

    def unknown(self, unknown_id: int | None, what: str | bytes) -> int:
        """`unknown_id`, which stands for `what`; TokenizerError where there is none."""
        return gate.unknown_id(self.place("unknown_token_id"), unknown_id, what)

    def check_lengths(self, lengths: Iterable[Collection[int]]) -> None:
        """Refuse what would make a search for the longest token at each place of a text endless.

        `lengths`: which ones the tokens have that begin alike.
        """
        gate.lengths(self.place("tokens"), max(map(len, lengths), default=0))

    def scores(self) -> list[float]:
        """One finite score a token; zeros when the file has none."""
        scores = self.array("scores", (float, int))
        if scores is None:
            return [0.0] * self.n_vocab
        gate.one_each(self.place("scores"), len(scores), self.n_vocab)
        gate.scores(self.place("scores"), sum(map(abs, scores)))
        return scores

    def of_type(self, *types: int) -> Iterator[int]:
        """Ids whose type is one of `types`, ascending."""
        wanted = frozenset(types)
        if wanted.isdisjoint(self.types):
            return iter(())
        is_wanted = bytes(kind in wanted for kind in range(256))
        return compress(range(self.n_vocab), self.types.translate(is_wanted))

    def _types(self) -> bytearray:
        types = self.array("token_type", int)
        if types is None:
            return bytearray([NORMAL]) * self.n_vocab
        gate.one_each(self.place("token_type"), len(types), self.n_vocab)
        return gate.token_types(self.place("token_type"), types[: self.n_vocab])

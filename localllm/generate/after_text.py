"""A constraint that begins behind a text: thinking first, in any words, then an answer that keeps to a grammar."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from localllm.generate.constraint import Constraint, NewConstraint

_MAX_GAP = 2
"""Tokens of white space between the closing text and the answer."""
_SPACE = b" \t\r\n"


class AfterTokenizer(Protocol):
    """What AfterText needs of a tokenizer (localllm.text's Tokenizer is one)."""

    @property
    def n_vocab(self) -> int: ...
    @property
    def eog_ids(self) -> frozenset[int]: ...
    def token_bytes(self, token_id: int, special: bool = False) -> bytes: ...
    def cut_control(self, text: str) -> list[str | int]: ...
    def encode_inside(self, text: str) -> list[int]: ...


class AfterText:
    """A Constraint (localllm.generate.constraint): anything up to `closing`, then what new_inner's constraint allows.

    opening: where it is one token, and not "", the answer may begin with it, or go without both texts; otherwise
    `closing` is awaited from the start. budget: tokens before `closing`, after which `forced` is written, which ends
    with it and perhaps white space (default: `closing`). new_inner None: anything may follow, too.
    Where something must follow, the answer can neither end before `closing`, nor run past it within a token; up to two
    tokens of white space may stand between both.
    """

    def __init__(
        self,
        tokenizer: AfterTokenizer,
        closing: str,
        new_inner: NewConstraint | None,
        *,
        opening: str = "",
        budget: int | None = None,
        forced: str = "",
    ) -> None:
        parts = tokenizer.cut_control(closing)
        self._closing_id = parts[0] if len(parts) == 1 and isinstance(parts[0], int) else None
        self._closing = closing.encode()
        self._tokenizer, self._new_inner = tokenizer, new_inner
        self._forced, self._left = _ids(tokenizer, forced or closing), budget
        self._table = _table(tokenizer, closing)
        self._tail = b""
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._inner: Constraint | None = None
        self._gap = 0
        begin = _ids(tokenizer, opening)
        self._opening = begin[0] if len(begin) == 1 else None
        self._phase: Literal["opening", "before", "gap", "inner"] = "before"
        if self._opening is not None:
            self._phase, self._inner = "opening", new_inner and new_inner()

    @property
    def finished(self) -> bool:
        """Nothing may follow."""
        return self._phase == "inner" and self._inner is not None and self._inner.finished

    def mask(self, logits: NDArray[np.float32]) -> None:
        """See Constraint."""
        if self._phase == "before":
            self._mask_before(logits)
        elif self._inner is not None:
            also = self._also()
            kept = logits[also]
            self._inner.mask(logits)
            logits[also] = kept

    def accept(self, token: int) -> Sequence[int]:
        """See Constraint."""
        if self._phase == "before":
            return self._accept_before(token)
        if self._phase == "opening" and token == self._opening:
            self._phase, self._inner = "before", None
            return ()
        if self._phase == "gap" and token in self._also():
            self._gap += 1
            return ()
        self._phase = "inner"
        return self._inner.accept(token) if self._inner is not None else ()

    def _also(self) -> Sequence[int] | NDArray[np.int64]:
        """Tokens that may come, whatever the inner constraint says."""
        if self._phase == "opening" and self._opening is not None:
            return [self._opening]
        return self._table.spaces if self._phase == "gap" and self._gap < _MAX_GAP else []

    def _mask_before(self, logits: NDArray[np.float32]) -> None:
        if self._must_close:
            kept = logits[self._forced[0]]
            logits[:] = -np.inf
            logits[self._forced[0]] = kept
        elif self._new_inner is not None:
            logits[self._table.ends] = -np.inf
            if self._closing_id is None:
                logits[self._table.running_past(self._tail)] = -np.inf

    @property
    def _must_close(self) -> bool:
        """The budget is used up, and no character is half written."""
        return self._left is not None and self._left <= 0 and not self._utf8.getstate()[0]

    def _accept_before(self, token: int) -> Sequence[int]:
        if self._must_close:
            self._close(_MAX_GAP)
            return self._forced[1:]
        self._left = None if self._left is None else self._left - 1
        piece = self._tokenizer.token_bytes(token, special=True)
        self._utf8.decode(piece)
        written = self._tail + piece
        if token == self._closing_id or (self._closing_id is None and self._closing in written):
            self._close(0)
        self._tail = written[len(written) - len(self._closing) + 1 :] if len(written) >= len(self._closing) else written
        return ()

    def _close(self, gap: int) -> None:
        self._phase, self._gap = "gap", gap
        self._inner = self._new_inner and self._new_inner()


@dataclass(frozen=True)
class _Table:
    """Tokens that matter for one closing text."""

    closing: bytes
    spaces: NDArray[np.int64]
    """Nothing but white space."""
    ends: NDArray[np.int64]
    whole: tuple[tuple[int, bytes], ...]
    """Those that hold the text, and go on."""
    parts: tuple[tuple[int, bytes], ...]
    """Those that begin with an end of it, and go on."""

    def running_past(self, tail: bytes) -> list[int]:
        """Tokens that complete the text begun by `tail`, and go on."""
        begun = any(tail.endswith(self.closing[:n]) for n in range(1, len(self.closing)))
        tokens = [*self.whole, *self.parts] if begun else self.whole
        return [
            i for i, piece in tokens if 0 <= (tail + piece).find(self.closing) < len(tail + piece) - len(self.closing)
        ]


_TABLES: WeakKeyDictionary[AfterTokenizer, dict[str, _Table]] = WeakKeyDictionary()


def _table(tokenizer: AfterTokenizer, text: str) -> _Table:
    """Made once for a tokenizer and a text: some tenths of a second for 150,000 tokens."""
    made = _TABLES.setdefault(tokenizer, {})
    if text in made:
        return made[text]
    closing = text.encode()
    ends = tuple(closing[n:] for n in range(1, len(closing)))
    pieces = [tokenizer.token_bytes(i) for i in range(tokenizer.n_vocab)]
    made[text] = _Table(
        closing,
        np.array([i for i, piece in enumerate(pieces) if piece and not piece.strip(_SPACE)], np.int64),
        np.array(sorted(tokenizer.eog_ids), np.int64),
        tuple((i, piece) for i, piece in enumerate(pieces) if closing in piece and not piece.endswith(closing)),
        tuple((i, piece) for i, piece in enumerate(pieces) if piece.startswith(ends) and piece not in ends),
    )
    return made[text]


def _ids(tokenizer: AfterTokenizer, text: str) -> list[int]:
    """A text of a model's format: control tokens in it are such."""
    ids: list[int] = []
    for part in tokenizer.cut_control(text):
        ids += [part] if isinstance(part, int) else tokenizer.encode_inside(part)
    return ids

"""A tokenizer as llguidance sees it: the bytes of every token, which ones are special, which ones end an answer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakKeyDictionary, WeakMethod

from localllm.errors import LocalllmError, UnsupportedError
from localllm.generate.grammar_input import MAX_COMPILED, Grammar, parser_limits

if TYPE_CHECKING:
    from llguidance import LLMatcher


_PROBES = ("a", " a", "a ", "a a")
_MAX_TOKEN = 1024
"""Bytes of a token that a grammar may choose: longer ones make llguidance panic (PARENT_BITS of toktrie)."""


class TextTokenizer(Protocol):
    """What a grammar needs of a tokenizer (localllm.text's Tokenizer is one)."""

    @property
    def n_vocab(self) -> int: ...
    @property
    def eog_ids(self) -> frozenset[int]: ...
    def token_bytes(self, token_id: int, special: bool = False) -> bytes: ...
    def is_control(self, token_id: int) -> bool: ...
    def encode_inside(self, text: str) -> list[int]: ...


class Words:
    """The vocabulary of one tokenizer in llguidance's form, and the grammars compiled for it."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        import llguidance

        self.n_vocab = tokenizer.n_vocab
        self.limits = parser_limits()
        self.prototypes = Prototypes()
        self.wrapper = _Wrapper(tokenizer)
        self.can_force = all(map(self.wrapper.is_kept, _PROBES))
        """The tokenizer writes texts as they are; one that puts spaces into them cannot say how a text is written."""
        ends = sorted(tokenizer.eog_ids)
        self.tokenizer = llguidance.LLTokenizer(self.wrapper, eos_token=ends or None)  # type: ignore[arg-type]

    @property
    def n_words(self) -> int:
        """Of 32 bits in a mask."""
        return -(-self.tokenizer.vocab_size // 32)

    def check_writable(self) -> None:
        """Raise LocalllmError if a grammar asked, in this thread, for a text that the vocabulary cannot write. It is
        told once: the grammars of others are none the worse for it."""
        if unwritable := self.wrapper.take_unwritable():
            raise LocalllmError(f"no tokens of this model write {unwritable!r:.60}, which the grammar asks for")


class _Wrapper:
    """What LLTokenizer asks for (TokenizerWrapper of llguidance/_tokenizer.py), and the way from text to tokens."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: TextTokenizer) -> None:
        n_vocab, ends = tokenizer.n_vocab, tokenizer.eog_ids
        tokens = (tokenizer.token_bytes(i, special=True) for i in range(n_vocab))
        self.tokens: Sequence[bytes] = [token if len(token) <= _MAX_TOKEN else b"" for token in tokens]
        # An end token may be one that texts could hold, by its type: it must not count as a part of theirs.
        self.special_token_ids = [i for i in range(n_vocab) if i in ends or tokenizer.is_control(i)]
        self.eos_token_id = min(ends, default=None)
        self._unwritable = threading.local()
        self._encode = WeakMethod(tokenizer.encode_inside)  # what is kept of a tokenizer must not keep it
        self._special = frozenset(self.special_token_ids)
        self._by_bytes: dict[bytes, int] = {}
        self._longest = 0

    def __call__(self, text: str) -> list[int]:
        """Tokens of a text that a grammar forces, as the model itself would write it; the longest ones where there is
        something in it that the tokenizer changes. An exception in here would be a panic in there."""
        ids = self._ids(text)
        return self._greedy(text.encode()) if ids is None else ids

    def is_kept(self, text: str) -> bool:
        """The tokenizer's way to write a text gives that text."""
        return self._ids(text) is not None

    def take_unwritable(self) -> str:
        """The text for which there were no tokens when this thread asked last, if there was one; "" from then on."""
        text = str(getattr(self._unwritable, "text", ""))
        self._unwritable.text = ""
        return text

    def _ids(self, text: str) -> list[int] | None:
        encode = self._encode()
        try:
            ids = encode(text) if encode else []
        except LocalllmError:  # there is no token for it, nor one for what is unknown
            return None
        kept = b"".join([self.tokens[i] for i in ids]) == text.encode() and self._special.isdisjoint(ids)
        return ids if kept else None

    def _greedy(self, data: bytes) -> list[int]:
        if not self._by_bytes:
            self._by_bytes = {t: i for i, t in enumerate(self.tokens) if t and i not in self._special}
            self._longest = max(map(len, self._by_bytes), default=0)
        ids, start = [], 0
        while start < len(data):
            for end in range(min(len(data), start + self._longest), start, -1):
                if (token := self._by_bytes.get(data[start:end])) is not None:
                    ids.append(token)
                    start = end
                    break
            else:
                self._unwritable.text = data[start:].decode("utf-8", "replace")
                break
        return ids


class Prototype(NamedTuple):
    """A compiled grammar at its beginning, of which each answer gets a copy; they share its tables."""

    matcher: LLMatcher
    warnings: tuple[str, ...]


class Prototypes:
    """Of one vocabulary; those used last are kept. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Grammar, Prototype] = OrderedDict()

    def get(self, grammar: Grammar) -> Prototype | None:
        with self._lock:
            if grammar in self._kept:
                self._kept.move_to_end(grammar)
            return self._kept.get(grammar)

    def put(self, grammar: Grammar, prototype: Prototype) -> None:
        with self._lock:
            self._kept[grammar] = prototype
            while len(self._kept) > MAX_COMPILED:
                self._kept.popitem(last=False)

    def drop(self, grammar: Grammar) -> None:
        """Forget one, whose tables have grown to a limit: they are shared by all constraints made of it."""
        with self._lock:
            self._kept.pop(grammar, None)


_WORDS: WeakKeyDictionary[TextTokenizer, Words] = WeakKeyDictionary()
_LOCK = threading.Lock()


def vocabulary_of(tokenizer: TextTokenizer) -> Words:
    """Made when the first grammar of a tokenizer is compiled, and kept as long as the tokenizer is."""
    with _LOCK:
        words = _WORDS.get(tokenizer)
        if words is None:
            words = _WORDS[tokenizer] = Words(tokenizer)
        return words


def require_guidance() -> None:
    """UnsupportedError where llguidance is not installed."""
    try:
        import llguidance  # noqa: F401
    except ImportError:
        raise UnsupportedError("grammars need the package llguidance: pip install 'localllm[structured]'") from None

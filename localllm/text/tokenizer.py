"""Tokenizers: text to ids and back, for the tokenizer models that `KINDS` lists.

A tokenizer is built from a file's metadata alone. Building it reads the arrays and checks them; what encoding needs
(tables of merges, compiled patterns, a loaded sentencepiece model) is made when the first text is encoded.
"""

from __future__ import annotations

import codecs
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from localllm.gate import calls
from localllm.gate import vocabulary as gate
from localllm.gate.check import Place
from localllm.text.endings import find_endings, find_infill
from localllm.text.specials import Specials
from localllm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocabulary


@dataclass(frozen=True)
class Kind:
    """A tokenizer model: `maker` in localllm/text/`module`.py makes its Encoder. The ids are llama.cpp's defaults."""

    module: str
    maker: str
    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    sep: int | None = None
    always_bos: bool = False
    """A text begins with BOS whatever the file says: early files of Gemma 4 say no (llama.cpp, pull request 21500), and
    WordPiece texts always do."""
    add_eos: bool = False
    """A text ends with EOS unless the file says otherwise."""
    add_sep: bool = False
    """A text ends with SEP, and never with EOS, whatever the file says: that goes for pairs of texts."""
    space_prefix: bool = False
    """A space goes before the text, and after each special token, unless the file says otherwise."""
    encoder_adds_spaces: bool = False
    """That space is the encoder's own matter."""
    leading_space: bool = False
    """Words begin with a space that the text did not have."""


KINDS: dict[str, Kind] = {
    "gpt2": Kind("bpe", "gpt2", bos=11, eos=11),
    "llama": Kind("spm", "SentencePieceEncoder", bos=1, eos=2, unk=0, space_prefix=True),
    "gemma4": Kind("bpe", "gemma4", always_bos=True),
    "whitespace": Kind("bpe", "whitespace", bos=11, eos=11),
    "bert": Kind(
        "wordpiece", "WordPieceEncoder", bos=101, unk=100, sep=102, always_bos=True, add_sep=True, leading_space=True
    ),
    "t5": Kind("unigram", "UnigramEncoder", eos=1, unk=2, add_eos=True, encoder_adds_spaces=True),
    "rwkv": Kind("rwkv", "RwkvEncoder"),
    "plamo2": Kind("plamo2", "Plamo2Encoder", bos=1, eos=2, unk=0),
}
"""By `tokenizer.ggml.model`."""

_PARTED = ("jina-v1-en", "jina-v2-code", "roberta-bpe")
"""Values of `tokenizer.ggml.pre` whose pairs have SEP between them unless the file says otherwise."""

_NO_VOCABULARY = ("no_vocab", "none")


class Encoder(Protocol):
    """What a kind of tokenizer model brings."""

    add_bos: bool
    """Begin with BOS where the file does not say."""

    @property
    def lost_bytes(self) -> bytes | None:
        """Bytes of a text that may be in none of its tokens; None where any may be, or any number be in one."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each of some plain texts: no special tokens in them, no lone surrogates, never empty."""

    def piece(self, token_id: int) -> bytes:
        """The bytes of a token of the type NORMAL."""


class Tokenizer:
    """Text to ids and back. Safe to share between threads.

    n_vocab; tokens [n_vocab] (the vocabulary's own texts); bos_id, eos_id, sep_id, unk_id (None where there is none);
    eog_ids: ids that end an answer; infill_ids: fill-in-the-middle tokens by the names of their keys; add_bos, add_eos,
    add_sep: what `add_special` adds; pair_frame: ids before, between and after the texts of a pair; kind:
    `tokenizer.ggml.model`.
    """

    def __init__(self, vocab: Vocabulary, kind_name: str) -> None:
        kind = KINDS[kind_name]
        self.kind = kind_name
        self.n_vocab = vocab.n_vocab
        self.tokens = vocab.tokens
        self._vocab = vocab
        self.bos_id = vocab.special_id("bos_token_id", kind.bos)
        self.eos_id = vocab.special_id("eos_token_id", kind.eos)
        self.unk_id = vocab.special_id("unknown_token_id", kind.unk)
        self.sep_id = vocab.special_id("seperator_token_id", kind.sep)  # the specification spells it so
        self.infill_ids = find_infill(vocab)
        self.eog_ids = find_endings(vocab, self.eos_id, self.infill_ids)
        self._encoder: Encoder = getattr(importlib.import_module(f"localllm.text.{kind.module}"), kind.maker)(vocab)
        bos, eos = vocab.flag("add_bos_token", self._encoder.add_bos), vocab.flag("add_eos_token", kind.add_eos)
        parts = kind.add_sep or vocab.metadata.get("tokenizer.ggml.pre") in _PARTED
        self.pair_frame = self._pair_frame(bos, eos, vocab.flag("add_sep_token", parts))
        self.add_bos = bos and self._needs("bos", self.bos_id)
        self.add_bos |= kind.always_bos and self.bos_id is not None
        self.add_eos = eos and not kind.add_sep and self._needs("eos", self.eos_id)
        self.add_sep = kind.add_sep and self._needs("sep", self.sep_id)
        prefix = vocab.flag("add_space_prefix", kind.space_prefix)
        self._space_prefix = kind.space_prefix and prefix
        self._strips_space = self._space_prefix or kind.leading_space or (kind.encoder_adds_spaces and prefix)
        self._specials = Specials(vocab, *_stripping(vocab))
        self._byte_of = _byte_tokens(vocab)
        self._pieces: dict[int, bytes] = {}
        vocab.metadata = {}  # the arrays that were not kept can go

    def encode(self, text: str, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Ids of `text`.

        `add_special` adds BOS, EOS and SEP as the file asks; `parse_special` takes control tokens in the text
        (`<|im_start|>`) for what they are; user-defined tokens always are. A lone surrogate, which UTF-8 cannot hold,
        is read as U+FFFD.
        """
        inner = self._encoded(calls.text("text", text), parse_special, " " if self._space_prefix else "")
        ids = [self.bos_id] if add_special and self.add_bos and self.bos_id is not None else []
        ids += inner
        if add_special and self.add_eos and self.eos_id is not None:
            ids.append(self.eos_id)
        if add_special and self.add_sep and self.sep_id is not None:
            ids.append(self.sep_id)
        return ids

    def at_least(self, text: str) -> int:
        """How many ids `text` has at the least, without encoding it: its bytes by those of the longest token.

        0 where a token may stand for any number of bytes, or some are left out: by the kind, or for what the vocabulary
        lacks.
        """
        lost = self._encoder.lost_bytes
        if lost is None or self._specials.strip:
            return 0
        return len(text.encode("utf-8", "surrogatepass").translate(None, lost)) // self._longest

    @cached_property
    def _longest(self) -> int:
        """Bytes of the longest token, at the most: the vocabulary's texts are no shorter than what they stand for."""
        return max(len(text.encode("utf-8", "surrogateescape")) for text in self.tokens)

    def encode_inside(self, text: str) -> list[int]:
        """Ids of a text that continues another: no space goes before it, and control tokens in it are plain text.

        Tokenizers that put spaces before words themselves (of T5 and BERT) do so here, too.
        """
        return self._encoded(text, False, "")

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """The text of `ids`. Control tokens are shown only with `special`; bytes that are no UTF-8 become U+FFFD.

        The space that `encode` puts before a text is taken away again. TokenizerError for an id that is not in the
        vocabulary.
        """
        decoder = self.stream(special, at_start=True)
        return "".join(map(decoder.push, calls.integers("token id", ids))) + decoder.finish()

    def stream(self, special: bool = False, at_start: bool = False) -> Decoder:
        """A decoder that takes one id after the other. `at_start`: they begin a text, they do not continue one."""
        return Decoder(self, special, at_start and self._strips_space)

    def token_text(self, token_id: int) -> str:
        """The vocabulary's own text of a token, such as `<|im_end|>` or `Ġthe`."""
        return self.tokens[self._checked(token_id)]

    def token_bytes(self, token_id: int, special: bool = False) -> bytes:
        """What a token adds to a text; nothing for control tokens, unless `special`, and for unused ones."""
        if type(token_id) is not int:
            token_id = self._checked(token_id)
        piece = self._pieces.get(token_id)
        if piece is None:
            piece = self._pieces[token_id] = self._make_piece(self._checked(token_id))
        return piece if special or self._vocab.types[token_id] not in (CONTROL, UNKNOWN) else b""

    def special_id(self, text: str) -> int | None:
        """The id of the special token (control, unknown or user-defined) whose text this is; None if there is none."""
        token_id = self._vocab.ids.get(text)
        is_special = token_id is not None and self._vocab.types[token_id] in (CONTROL, UNKNOWN, USER_DEFINED)
        return token_id if is_special else None

    def is_control(self, token_id: int) -> bool:
        """Whether the token is one that texts do not show."""
        return self._vocab.types[self._checked(token_id)] in (CONTROL, UNKNOWN)

    def _encoded(self, text: str, parse_special: bool, prefix: str) -> list[int]:
        """Ids of a text; `prefix` goes before it, and after each special token."""
        pieces = self._specials.cut(_encodable(text), parse_special)
        plain = [
            prefix + piece if i == 0 or isinstance(pieces[i - 1], int) else piece
            for i, piece in enumerate(pieces)
            if isinstance(piece, str)
        ]
        encoded = iter(self._encoder.encode(plain))
        ids: list[int] = []
        for piece in pieces:
            ids += (piece,) if isinstance(piece, int) else next(encoded)
        return ids

    def _make_piece(self, token_id: int) -> bytes:
        kind = self._vocab.types[token_id]
        if kind == NORMAL:
            return self._encoder.piece(token_id)
        if kind == BYTE:
            return self._byte_of[token_id]
        if kind in (CONTROL, UNKNOWN, USER_DEFINED):
            return self.tokens[token_id].encode("utf-8", "surrogateescape")
        return b""

    def _checked(self, token_id: int) -> int:
        return gate.token_id(token_id, self.n_vocab)

    def _pair_frame(self, bos: bool, eos: bool, sep: bool) -> tuple[list[int], list[int], list[int]]:
        """See pair_frame; what the file asks for of these, as llama.cpp's server has it."""
        end = self.sep_id if self.eos_id is None else self.eos_id
        begins, ends, parts = (
            [token_id] if wanted and token_id is not None else []
            for wanted, token_id in ((bos, self.bos_id), (eos, end), (sep, self.sep_id))
        )
        return begins, [*ends, *parts], ends

    def _needs(self, name: str, token_id: int | None) -> bool:
        key = f"add_{name}_token"
        return gate.added_id(self._vocab.place(key), token_id, self._vocab.flag(key, False), name) is not None


class Decoder:
    """Ids to text, piece by piece: never a part of a character, and never more held back than that."""

    def __init__(self, tokenizer: Tokenizer, special: bool, strip_space: bool) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._strip_space = strip_space
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that is complete with this token; often all of the token's, sometimes nothing."""
        piece = self._tokenizer.token_bytes(token_id, self._special)
        if self._strip_space and piece and not self._tokenizer.is_control(token_id):
            self._strip_space = False
            piece = piece.removeprefix(b" ")
        return self._utf8.decode(piece)

    def finish(self) -> str:
        """What is left at the end: U+FFFD for the beginning of a character that never ended."""
        return self._utf8.decode(b"", final=True)


def load_tokenizer(metadata: Mapping[str, Any], path: str = "") -> Tokenizer | None:
    """The tokenizer that a file's metadata describe; None for `no_vocab`, a model that runs on ids.

    `path` is for messages. Raises UnsupportedError for a tokenizer model that is not in KINDS, TokenizerError for a
    vocabulary that cannot be used.
    """
    place = Place(path, "tokenizer.ggml.model")
    name = gate.kind_is_told(place, metadata.get("tokenizer.ggml.model"))
    if name in _NO_VOCABULARY:
        return None
    gate.kind(place, name, KINDS)
    return Tokenizer(Vocabulary(metadata, path), name)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # pairs of surrogates become the character they stand for, lone ones U+FFFD
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _stripping(vocab: Vocabulary) -> tuple[list[int], list[int]]:
    """Special tokens that swallow the white space before them, and after them: GGUF has no keys for it, llama.cpp goes
    by names.
    """
    pre, architecture, name = (
        vocab.metadata.get(key) for key in ("tokenizer.ggml.pre", "general.architecture", "general.name")
    )
    if _contains(pre, "jina-v2-de", "jina-v2-es", "jina-v2-code") or _contains(
        architecture, "nomic-bert-moe", "jina-bert-v3"
    ):
        return [vocab.ids[token] for token in ("<mask>",) if token in vocab.ids], []
    if _contains(name, "phi-3", "phi3"):
        keep = {vocab.ids.get(token) for token in ("<unk>", "<s>", "<|endoftext|>")}
        return [], [i for i in vocab.of_type(CONTROL, USER_DEFINED, UNKNOWN) if i not in keep]
    if _contains(name, "modern-bert"):
        return [vocab.ids[token] for token in ("[MASK]",) if token in vocab.ids], []
    return [], []


def _contains(value: object, *parts: str) -> bool:
    return isinstance(value, str) and any(part in value.lower() for part in parts)


def _byte_tokens(vocab: Vocabulary) -> dict[int, bytes]:
    """The byte of each token of the type BYTE, from its text, <0x00> to <0xFF>."""
    found = {}
    for i in vocab.of_type(BYTE):
        found[i] = gate.byte_token(vocab.place("tokens"), i, vocab.tokens[i])
    return found

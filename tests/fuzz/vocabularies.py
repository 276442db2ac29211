"""Tokenizers of every kind from hostile vocabularies: a GGUF header, and the text to encode behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from localllm.gguf.reader import open_header
from localllm.text.endings import END_OF_GENERATION
from localllm.text.tokenizer import load_tokenizer
from tests.fuzz.gguf_mutator import of_gguf
from tests.fuzz.target import Finding, Target
from tests.gguf import build as b
from tests.text.build import byte_level, metadata, sentencepiece

_PREFIX = "tokenizer.ggml."
_KEYS = (
    "model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id", "eot_token_id",
    "eom_token_id", "unknown_token_id", "seperator_token_id", "padding_token_id", "fim_pre_token_id",
    "fim_pad_token_id", "add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix",
    "remove_extra_whitespaces", "precompiled_charsmap", "normalizer.lowercase", "normalizer.strip_accents",
)  # fmt: skip
_TEXT = "the dog doesn't mind:  12 345\n\n\tdef f(x) süße 你好！ <|end|><user> \u2581x aaaa"


def seeds() -> Iterator[bytes]:
    for data in vocabularies():
        yield b.gguf([_key(key, value) for key, value in data.items()]) + _TEXT.encode()


def vocabularies() -> Iterator[Mapping[str, Any]]:
    yield byte_level(20)
    yield byte_level(20, pre="llama-bpe", add_bos_token=True, bos_token_id=3) | {"general.name": "Phi-3"}
    yield sentencepiece()
    yield sentencepiece(bytes_too=False, add_space_prefix=False)
    letters = [*"abcdefghinortu ", "▁", "▁the", "<mask>", "<|end|>", "12", "ing"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    few = metadata(
        "bert", ["[UNK]", "[CLS]", "[SEP]", "▁dog", "s", "##x", *letters], [3, 3, 3, *[1] * (3 + len(letters))]
    )
    yield few | _of(unknown_token_id=0, bos_token_id=1, seperator_token_id=2, **{"normalizer.lowercase": True})
    unigram = metadata("t5", ["<pad>", "</s>", "<unk>", *letters], [3, 3, 2, *[1] * len(letters)])
    charsmap = [12, 0, 0, 0, 0, 0, 1, 0, 97, 9, 0, 0, 0, 0, 0, 128, 98, 99, 0]
    yield unigram | _of(scores=[-float(i) for i in range(3 + len(letters))], precompiled_charsmap=charsmap)
    yield metadata("rwkv", ["<s>", *(f"\\x{byte:02x}" for byte in range(256)), "the", "\\n\\n", " d"], [3, *[1] * 259])
    plamo = metadata("plamo2", ["<unk>", "<s>", "</s>", *bytes_, *letters], [2, 3, 3, *[6] * 256, *[1] * len(letters)])
    yield plamo | _of(scores=[-0.5] * (259 + len(letters)))
    gemma = metadata("gemma4", [*bytes_, *letters, "<bos>", "th"], [*[6] * 256, *[1] * len(letters), 3, 1])
    yield gemma | _of(bos_token_id=len(bytes_) + len(letters), merges=["t h", "th e"])
    yield metadata("whitespace", ["the", "dog", *letters], [1] * (2 + len(letters))) | _of(merges=["a b"])


def _of(**keys: Any) -> dict[str, Any]:
    return {_PREFIX + key: value for key, value in keys.items()}


def _key(key: str, value: Any) -> bytes:
    """A key of the type that its value has in Python."""
    if isinstance(value, list):
        element = {str: b.STR, float: b.F32, int: b.I32}[type(value[0])]
        return b.array(key, element, value)
    return b.kv(key, {bool: b.BOOL, int: b.U32, str: b.STR}[type(value)], value)


def run(data: bytes) -> None:
    header = open_header(data, len(data), "vocabulary.gguf")
    meta = dict(header.metadata)
    tokenizer = load_tokenizer(meta)
    if tokenizer is None:
        return
    text = data[-400:].decode("utf-8", "replace")
    everything = b"".join(tokenizer.token_bytes(i, special=True) for i in range(tokenizer.n_vocab))
    named = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.sep_id, tokenizer.unk_id, *tokenizer.eog_ids)
    if not all(i is None or 0 <= i < tokenizer.n_vocab for i in (*named, *tokenizer.infill_ids.values())):
        raise Finding(f"ids beyond the vocabulary: {named}")
    ids = tokenizer.encode(text, add_special=True, parse_special=True)
    if not all(type(i) is int and 0 <= i < tokenizer.n_vocab for i in ids):
        raise Finding(f"encodes to {ids}, of {tokenizer.n_vocab}")
    shown = tokenizer.decode(ids), tokenizer.decode(ids, special=True), tokenizer.encode_inside(text)
    again = load_tokenizer(meta)
    if again is None or again.encode(text, add_special=True, parse_special=True) != ids:
        raise Finding("a second tokenizer of the same file encodes otherwise")
    if (again.decode(ids), again.decode(ids, special=True), again.encode_inside(text)) != shown:
        raise Finding("a second tokenizer of the same file decodes otherwise")
    if len(tokenizer.encode(text)) < tokenizer.at_least(text):
        raise Finding(f"{text!r} has fewer tokens than at_least says, {tokenizer.at_least(text)}")
    if everything != b"".join(again.token_bytes(i, special=True) for i in range(again.n_vocab)):
        raise Finding("tokens have other bytes the second time")


TARGET = Target(seeds, run, of_gguf([_PREFIX + key for key in _KEYS], END_OF_GENERATION), seconds=3.0)

"""Vocabularies of every kind for tests of grammars, and random answers under a grammar."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from localllm.generate.grammar import Compiled
from localllm.text.tokenizer import Tokenizer
from localllm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN
from tests.text import build

PLAIN = string.ascii_letters + string.digits + string.punctuation
"""What the small vocabularies can write, beside the space."""


def unigram() -> dict[str, Any]:
    """A `t5` vocabulary: <pad> </s> <unk>, characters and some words."""
    words = ["▁", *PLAIN, "▁name", "age", '":', '{"', "true", "▁false", "12"]
    tokens = ["<pad>", "</s>", "<unk>", *words]
    types = [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * len(words)
    scores = [0.0, 0.0, 0.0] + [-1.0 - i / 100 for i in range(len(words))]
    return build.metadata("t5", tokens, types, scores=scores, eos_token_id=1, unknown_token_id=2)


def wordpiece() -> dict[str, Any]:
    """A `bert` vocabulary: letters at the beginning of words and within, with [SEP] as the end."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *("▁" + c for c in PLAIN), *PLAIN, "▁name", "age"]
    types = [CONTROL, UNKNOWN, CONTROL, CONTROL] + [NORMAL] * (len(tokens) - 4)
    keys = {"bos_token_id": 2, "seperator_token_id": 3, "eos_token_id": 3, "unknown_token_id": 1}
    return build.metadata("bert", tokens, types, **keys)


def rwkv() -> dict[str, Any]:
    """An `rwkv` vocabulary: <s>, which ends, then 256 bytes and some words."""
    tokens = ["<s>", *(f"\\x{byte:02x}" for byte in range(256)), ' "name"', "age", '{"', "true", '": ', "ö"]
    return build.metadata("rwkv", tokens, [CONTROL] + [NORMAL] * (len(tokens) - 1), eos_token_id=0)


def plamo2() -> dict[str, Any]:
    """A `plamo2` vocabulary: specials, bytes and characters."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), " ", *PLAIN, "name", '": "']
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * (len(tokens) - 259)
    scores = [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)]
    return build.metadata("plamo2", tokens, types, scores=scores, bos_token_id=1, eos_token_id=2, unknown_token_id=0)


VOCABULARIES = {
    "gpt2": lambda: build.byte_level(eos_token_id=build.byte_level()["tokenizer.ggml.tokens"].index("<|end|>")),
    "llama": build.sentencepiece,
    "llama without a first space": lambda: build.sentencepiece(add_space_prefix=False),
    "t5": unigram,
    "bert": wordpiece,
    "rwkv": rwkv,
    "plamo2": plamo2,
}


def vocabulary(name: str) -> Tokenizer:
    return build.tokenizer_of(VOCABULARIES[name]())


def random_answer(
    tokenizer: Tokenizer, compiled: Compiled, seed: int, n_tokens: int = 400, end: float = 0.0
) -> tuple[list[int], str, bool]:
    """Ids of a walk by random logits under the mask, its text, and whether it came to an end.

    end: added to the logits of end tokens, and of quotes and brackets that close, so that walks end.
    """
    rng, constraint = np.random.default_rng(seed), compiled()
    bonus = np.zeros(tokenizer.n_vocab, np.float32)
    for i in range(tokenizer.n_vocab):
        if i in tokenizer.eog_ids or tokenizer.token_bytes(i)[:1] in (b'"', b"]", b"}"):
            bonus[i] = end
    ids: list[int] = []
    while len(ids) < n_tokens:
        logits = rng.standard_normal(tokenizer.n_vocab).astype(np.float32) + bonus
        constraint.mask(logits)
        token = int(np.argmax(logits))
        assert np.isfinite(logits[token]), "nothing may follow, but the constraint is not finished"
        if token in tokenizer.eog_ids:
            return ids, text_of(tokenizer, ids), True
        ids += [token, *constraint.accept(token)]
        if constraint.finished:
            return ids, text_of(tokenizer, ids), True
    return ids, text_of(tokenizer, ids), False


def text_of(tokenizer: Tokenizer, ids: list[int]) -> str:
    """As an answer is decoded: it does not begin a text."""
    stream = tokenizer.stream()
    return "".join(map(stream.push, ids)) + stream.finish()

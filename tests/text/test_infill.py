"""Prompts that ask for the middle of a text."""

from __future__ import annotations

import pytest

from localllm.errors import UnsupportedError
from localllm.text.infill import infill_prompt
from tests.text.build import byte_level, tokenizer_of, with_tokens

N_VOCAB = tokenizer_of(byte_level()).n_vocab
NAMES = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")


def test_prefix_suffix_middle():
    tokenizer = tokenizer_of(with_tokens(byte_level(), *((name, 1) for name in NAMES)))
    pre, suf, mid = range(N_VOCAB, N_VOCAB + 3)
    plain = tokenizer.encode
    assert infill_prompt(tokenizer, "ab", "c") == [pre, *plain("ab"), suf, *plain("c"), mid]
    named = infill_prompt(tokenizer, "<fim_suffix>", "")
    assert named.count(suf) == 1  # a control token's name in a text is plain text


def test_the_token_that_begins_a_text():
    data = with_tokens(byte_level(add_bos_token=True, bos_token_id=1), *((name, 1) for name in NAMES))
    assert infill_prompt(tokenizer_of(data), "a", "b")[:2] == [1, N_VOCAB]


def test_a_vocabulary_without_such_tokens():
    tokenizer = tokenizer_of(with_tokens(byte_level(), ("<fim_prefix>", 1)))
    with pytest.raises(UnsupportedError, match=r"tokenizer\.ggml\.fim_suf_token_id, tokenizer\.ggml\.fim_mid"):
        infill_prompt(tokenizer, "a", "b")

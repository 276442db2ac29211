"""The tokenizer model plamo2 against ids recorded from llama.cpp, and against the best of all ways."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.errors import TokenizerError
from tests.text.build import prefixed, tokenizer_of
from tests.text.plamo2 import BYTES, DATA, PIECES, RECORDED, SPECIAL, TEXTS


@pytest.mark.parametrize(("text", "ids"), list(zip(TEXTS, RECORDED, strict=True)))
def test_ids_are_those_of_llamacpp(text, ids):
    tokenizer = tokenizer_of(DATA)
    assert (tokenizer.encode(text), tokenizer.encode(text, add_special=True, parse_special=True)) == ids


@cache
def best_score(text: str) -> int:
    """The highest sum of scores of all ways to write a text, in ten thousandths."""
    if not text:
        return 0
    tokens = [(len(t), round(score * 1e4)) for t, score in PIECES.items() if text.startswith(t) and score > -2000]
    return max(score + best_score(text[n:]) for n, score in [*tokens, (1, -10_000_000)])


@given(st.text(st.sampled_from([*"abcthe 12xyzq\n", "日", "本", "語", "é", "ß", "🙂"]), max_size=30))
@settings(max_examples=300, deadline=None)
def test_the_best_of_all_ways(text):
    tokenizer = tokenizer_of(DATA)
    ids, first, total = tokenizer.encode(text), len(SPECIAL), 0
    assert tokenizer.decode(ids) == text
    for token in ids:
        if token >= first + len(BYTES):
            total += round(PIECES[tokenizer.token_text(token)] * 1e4)
    alone = b"".join(tokenizer.token_bytes(i) for i in ids if i < first + len(BYTES)).decode()
    assert total - 10_000_000 * len(alone) == best_score(text)


def test_special_tokens():
    tokenizer = tokenizer_of(DATA)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (1, 2, 0)
    assert 2 in tokenizer.eog_ids
    with_bos = tokenizer_of(DATA | prefixed({"add_bos_token": True}))
    assert with_bos.encode("a", add_special=True) == [1, *tokenizer.encode("a")]


def test_a_long_text_is_written_as_its_parts():
    tokenizer = tokenizer_of(DATA)
    part = "\nquick 日本語"
    assert tokenizer.encode(part * 2000) == tokenizer.encode(part) * 2000


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("scores", [0.0], "scores has 1 entries"),
        ("scores", [-3000.0] * len(DATA["tokenizer.ggml.tokens"]), "scores holds none above -2000"),
        ("scores", [float("nan")] * len(DATA["tokenizer.ggml.tokens"]), "not finite"),
        ("token_type", [1] * len(DATA["tokenizer.ggml.tokens"]), "tokens has no byte token <0x00>"),
    ],
)
def test_refused(key, value, match):
    with pytest.raises(TokenizerError, match=match):
        tokenizer_of(DATA | prefixed({key: value})).encode("a")

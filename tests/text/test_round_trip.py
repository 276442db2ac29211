"""Nothing is lost: decode(encode(x)) == x over random Unicode, and what others than byte-level vocabularies lose."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from localllm.text import bpe
from localllm.text.tokenizer import Tokenizer
from tests.text.build import SAMPLE, byte_level, sentencepiece, tokenizer_of

FEW, MANY = 2_000, 100_000
_RANGES = ((0, 0x7F), (0, 0x2FF), (0x300, 0x36F), (0x370, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0xD7FF), (0xE000, 0xFFFF))
_PIECES = (
    *SAMPLE.split(" "),
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "'s",
    "\u3000",
    "\u2581",
    "\ufeff",
    "👩‍👧",
    "<user>",
)


def strings(n: int, seed: int) -> Iterator[str]:
    """Random texts: any characters, characters of one script, and pieces that merges and patterns look at."""
    chance = random.Random(seed)
    for _ in range(n):
        size = chance.randrange(24)
        way = chance.random()
        if way < 0.4:
            yield "".join(chance.choices(_PIECES, k=size))
        elif way < 0.8:
            first, last = chance.choice(_RANGES)
            yield "".join(chr(chance.randint(first, last)) for _ in range(size))
        else:
            yield "".join(
                chr(chance.choice((chance.randrange(0xD800), chance.randint(0xE000, 0x10FFFF)))) for _ in range(size)
            )


def check(tokenizer: Tokenizer, n: int, seed: int) -> None:
    lost = []
    for text in strings(n, seed):
        ids = tokenizer.encode(text)
        assert len(ids) >= tokenizer.at_least(text)
        if tokenizer.decode(ids) != text:
            lost.append(text)
    assert not lost, f"{len(lost)} of {n}, the first is {lost[0]!r}"


@pytest.mark.parametrize("pre", ["gpt-2", "qwen2", "llama-bpe", "gpt-4o", "deepseek-v3", "kimi-k2", "superbpe"])
def test_byte_level_loses_nothing(pre: str) -> None:
    check(tokenizer_of(byte_level(pre=pre)), FEW, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe"])
def test_byte_level_loses_nothing_in_many(pre: str) -> None:
    check(tokenizer_of(byte_level(pre=pre)), MANY, seed=2)


def test_lone_surrogates_become_u_fffd() -> None:
    tokenizer = tokenizer_of(byte_level())
    for text in strings(500, seed=3):
        assert tokenizer.decode(tokenizer.encode(text + "\ud800" + text)) == text + "\ufffd" + text


def test_sentencepiece_loses_its_own_sign_for_a_space_alone() -> None:
    for keys in ({}, {"add_space_prefix": False}):
        tokenizer = tokenizer_of(sentencepiece(**keys))
        for text in strings(FEW, seed=4):
            parts = text.split("<user>") if not keys else [text]  # each special token brings a space of its own
            for part in parts:
                assert tokenizer.decode(tokenizer.encode(part)) == part.replace("\u2581", " ")


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe"])
def test_compiled_merges_give_the_same_ids(pre: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for bytes that are no tokens, and merges whose parts are none."""
    data = byte_level(pre=pre, add_bos_token=False)
    tokens = data["tokenizer.ggml.tokens"]
    tokens[tokens.index("q")] = "not-q"
    data["tokenizer.ggml.merges"] += ["q u", "qu i", "h e", "Ġ q"]
    texts = list(strings(FEW, seed=5))
    python = [tokenizer_of(data).encode(text) for text in texts[:50]]
    whole = tokenizer_of(data).encode("".join(texts))
    monkeypatch.setattr(bpe, "_BULK", 0)
    monkeypatch.setattr(bpe, "_MORE_BULK", 0)
    compiled = tokenizer_of(data)
    assert [compiled.encode(text) for text in texts[:50]] == python
    assert tokenizer_of(data).encode("".join(texts)) == whole

"""A long run of one class of characters takes time in proportion to it, whatever cuts and merges it.

llama.cpp's regular expressions overflowed their stack at such texts (issues 26965 and 27783). What is quadratic takes
minutes for these; the bounds leave room for slow machines.
"""

from __future__ import annotations

import struct
import time

import pytest

from localllm.text.charsmap import CharsMap
from localllm.text.pretokenizers import PRETOKENIZERS
from localllm.text.tokenizer import Tokenizer
from tests.fuzz.vocabularies import vocabularies
from tests.text.build import byte_level, tokenizer_of

RUNS = ("a", " ", "\n", "1", "!", "漢", "\u0301", "aB", "\r\n", "ß1", " \n")
SHORT, LONG = 1 << 13, 1 << 20
SECONDS = 30.0
"""Of processor time for a run of LONG characters."""
PRES = [name for name, pre in PRETOKENIZERS.items() if not pre.characters]


def check(tokenizer: Tokenizer, run: str, n: int, seconds: float) -> None:
    text = run * (n // len(run))
    start = time.thread_time()
    ids = tokenizer.encode(text)
    assert time.thread_time() - start < seconds
    assert tokenizer.at_least(text) <= len(ids)


@pytest.mark.parametrize("pre", PRES)
def test_pretokenizers_cut_runs(pre: str) -> None:
    tokenizer = tokenizer_of(byte_level(20, pre=pre))
    for run in RUNS:
        check(tokenizer, run, SHORT, SECONDS / 4)


@pytest.mark.parametrize("i", range(10))
def test_every_kind_of_tokenizer_encodes_runs(i: int) -> None:
    tokenizer = tokenizer_of([*vocabularies()][i])
    for run in RUNS:
        check(tokenizer, run, SHORT, SECONDS / 4)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["a", " ", "!"])
@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "gpt-4o", "deepseek-v3", "kimi-k2", "superbpe"])
def test_a_megabyte(pre: str, run: str) -> None:
    check(tokenizer_of(byte_level(20, pre=pre)), run, LONG, SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["a", " "])
def test_a_megabyte_of_merges_that_all_overlap(run: str) -> None:
    """Merges of 2, 4, 8, ... of the same character: each one makes the places of the next."""
    letter = byte_level(0)["tokenizer.ggml.tokens"][ord(run)]
    data = byte_level(0)
    made = [letter * 2**k for k in range(1, 12)]
    data["tokenizer.ggml.tokens"] = [*data["tokenizer.ggml.tokens"], *made]
    data["tokenizer.ggml.token_type"] = [*data["tokenizer.ggml.token_type"], *[1] * len(made)]
    data["tokenizer.ggml.merges"] = [f"{letter * 2**k} {letter * 2**k}" for k in range(11)]
    check(tokenizer_of(data), run, LONG, SECONDS)


def _map(units: list[int], texts: bytes) -> bytes:
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts


def test_a_character_map_whose_branches_meet_again_and_again() -> None:
    """Two children of each node lead to the same one: 2^60 ways, no deeper than a trie may be."""
    units = [0] * (256 * 62)
    units[0] = 256 << 10
    for level in range(1, 61):
        for label in (1, 2):
            place = 256 * level ^ label
            units[place] = (place ^ 256 * (level + 1)) << 10 | label
    with pytest.raises(ValueError, match="without end"):
        CharsMap(_map(units, b"x\0"))


def test_a_character_map_whose_replacements_share_their_text() -> None:
    units = [0] * 768
    units[0], units[512] = 256 << 10, 1 << 31
    for label in range(1, 128):
        place = 256 ^ label
        units[place] = (place ^ 512) << 10 | 1 << 8 | label
    assert CharsMap(_map(units, b"x\0")).apply("abc") == "xxx"
    with pytest.raises(ValueError, match="replacements of more than 4194304 bytes"):
        CharsMap(_map(units, b"x" * 100_000 + b"\0"))

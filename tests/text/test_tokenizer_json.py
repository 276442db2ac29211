"""Pre-tokenizers recognised by their definition in a tokenizer.json, beside the `tokenizers` package that runs it."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer

from localllm.errors import TokenizerError, UnsupportedError
from localllm.text.pretokenizers import PRETOKENIZERS
from localllm.text.tokenizer import load_tokenizer
from localllm.text.tokenizer_json import _KNOWN, recognise
from tests.quantize.folder_tokenizers import PRE_STEPS, bytelevel_tokenizer, write_json

TEXTS = (
    "the brown dogs' lazy fox, we'LL see: 12345 3.1415\n\n  then\tthere  were\r\n three   ",
    "Zwölf Boxkämpfer; ÜBER den Deich! 北京 2024 日本語テキスト",
    "  \n \n\n x=1;y==2\u00a0\u3000z 🦊🦊 don't DON'T",
)


@pytest.mark.parametrize("pre", PRE_STEPS)
def test_known_definitions_cut_as_the_package_does(pre, tmp_path):
    tokenizer = bytelevel_tokenizer(pre, "ByteLevel")
    assert recognise(tokenizer, "t") == pre
    write_json(tmp_path / "tokenizer.json", tokenizer)
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ours = load_tokenizer(_metadata(tokenizer, pre))
    assert ours is not None
    for text in TEXTS:
        assert list(ours.encode(text, add_special=False)) == theirs.encode(text, add_special_tokens=False).ids


def _metadata(tokenizer: dict[str, Any], pre: str) -> dict[str, Any]:
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": list(ids),
        "tokenizer.ggml.token_type": [1] * len(ids),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in tokenizer["model"]["merges"]],
    }


def test_matches_alone_are_all_that_there_is():
    """A Split that drops what lies between its matches, where nothing does."""
    tokenizer = bytelevel_tokenizer("llama-bpe", "ByteLevel")
    tokenizer["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}
    assert recognise(tokenizer, "t") == "llama-bpe"
    tokenizer["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": False}
    with pytest.raises(UnsupportedError, match="not known") as problem:
        recognise(tokenizer, "t")
    assert "\n" not in str(problem.value)


def test_every_name_is_a_pretokenizer():
    assert {name for names in _KNOWN.values() for name in names} <= PRETOKENIZERS.keys()


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
        {"normalizer": {"type": "Lowercase"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]}},
    ],
)
def test_an_unknown_definition_is_refused_and_says_how_to_go_on(change):
    tokenizer = bytelevel_tokenizer("qwen2", "ByteLevel") | change
    with pytest.raises(UnsupportedError, match=r"t: cuts words in a way that is not known .*--pre NAME, of .*qwen2"):
        recognise(tokenizer, "t")


def test_a_pattern_that_differs_in_one_place_is_unknown():
    tokenizer = bytelevel_tokenizer("qwen2", "ByteLevel")
    split = tokenizer["pre_tokenizer"]["pretokenizers"][0]
    split["pattern"]["Regex"] = split["pattern"]["Regex"].replace(r"\p{N}|", r"\p{N}{1,2}|")
    with pytest.raises(UnsupportedError, match="not known"):
        recognise(tokenizer, "t")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ([], "key pre_tokenizer: must hold objects"),
        ({"type": "Sequence", "pretokenizers": {}}, "key pre_tokenizer: a Sequence must have a list, pretokenizers"),
        ({"type": "Sequence", "pretokenizers": [7]}, "key pre_tokenizer: must hold objects"),
    ],
)
def test_what_is_no_definition(entry, words):
    with pytest.raises(TokenizerError, match=f"^t: {words}$"):
        recognise(bytelevel_tokenizer("qwen2", "ByteLevel") | {"pre_tokenizer": entry}, "t")

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.errors import TokenizerError, UnsupportedError
from localllm.text.tokenizer import KINDS, Tokenizer, load_tokenizer
from tests.text.build import byte_level, metadata, prefixed, sentencepiece, tokenizer_of, with_tokens


def build(**keys: Any) -> Tokenizer:
    return tokenizer_of(byte_level(**keys))


class TestSpecials:
    def test_control_tokens_only_on_request_user_defined_always(self) -> None:
        end, user, start = TINY.n_vocab - 3, TINY.n_vocab - 2, TINY.n_vocab - 1
        ids = TINY.encode("<|im_start|>hi<user><|end|>", parse_special=True)
        assert (ids[0], ids[-2], ids[-1]) == (start, user, end)
        plain = TINY.encode("<|im_start|>hi<user><|end|>")
        assert user in plain
        assert not {start, end} & set(plain)
        assert TINY.decode(plain) == "<|im_start|>hi<user><|end|>"

    def test_the_longest_goes_first_wherever_it_stands(self) -> None:
        tokenizer = tokenizer_of(with_tokens(byte_level(), ("ab", 4), ("bcd", 4), ("bcde", 4)))
        n = tokenizer.n_vocab
        assert tokenizer.encode("abcd") == [*tokenizer.encode("a"), n - 2]
        assert tokenizer.encode("abcde") == [*tokenizer.encode("a"), n - 1]
        assert tokenizer.encode("abab") == [n - 3, n - 3]

    def test_phi3_swallows_white_space_after_special_tokens(self) -> None:
        data = with_tokens(byte_level(), ("<|user|>", 3), ("<s>", 3)) | {"general.name": "Phi-3 mini"}
        tokenizer = tokenizer_of(data)
        n = tokenizer.n_vocab
        assert tokenizer.encode("<|user|> \n hi", parse_special=True) == [n - 2, *tokenizer.encode("hi")]
        assert tokenizer.encode("<s> hi", parse_special=True) == [n - 1, *tokenizer.encode(" hi")]
        assert tokenizer.encode("<|user|>  ", parse_special=True) == [n - 2]

    def test_tokens_with_characters_special_in_patterns(self) -> None:
        tokenizer = tokenizer_of(with_tokens(byte_level(), ("^x", 4), ("-]", 4), ("\\d", 4), ("]]", 4)))
        n = tokenizer.n_vocab
        assert tokenizer.encode("-]^x\\d]]") == [n - 3, n - 4, n - 2, n - 1]

    def test_shown_only_on_request(self) -> None:
        ids = TINY.encode("<|im_start|>hi<user>", parse_special=True)
        assert TINY.decode(ids) == "hi<user>"
        assert TINY.decode(ids, special=True) == "<|im_start|>hi<user>"


class TestEnds:
    def test_bos_and_eos_by_the_file(self) -> None:
        data = byte_level(bos_token_id=1, eos_token_id=2, add_bos_token=True, add_eos_token=True)
        assert tokenizer_of(data).encode("a", add_special=True) == [1, ord("a"), 2]
        assert tokenizer_of(data).encode("", add_special=True) == [1, 2]
        assert tokenizer_of(data).encode("a") == [ord("a")]

    def test_byte_level_adds_nothing_unless_asked(self) -> None:
        assert TINY.encode("a", add_special=True) == [ord("a")]

    def test_llama3_begins_with_bos(self) -> None:
        assert build(pre="llama-bpe", bos_token_id=7).encode("a", add_special=True) == [7, ord("a")]

    def test_the_default_id_is_taken_only_from_special_tokens(self) -> None:
        """llama.cpp takes id 11 whatever it is; every answer would end at a vertical tab."""
        assert TINY.eos_id is None
        assert tokenizer_of(sentencepiece()).bos_id == 1

    def test_end_tokens_by_id_name_and_keys(self) -> None:
        data = with_tokens(
            byte_level(eos_token_id=3, eot_token_id=4, eom_token_id=5), ("<|im_end|>", 1), ("<|file_sep|>", 1)
        )
        tokenizer = tokenizer_of(data)
        n = tokenizer.n_vocab
        assert tokenizer.eog_ids == {3, 4, 5, n - 5, n - 2, n - 1}
        assert tokenizer.is_control(n - 2), "a file that calls <|im_end|> plain text is wrong"
        assert n - 2 not in tokenizer.encode("<|im_end|>")
        assert tokenizer.encode("<|im_end|>", parse_special=True) == [n - 2]

    def test_end_of_a_message_is_not_the_end_in_gpt_oss(self) -> None:
        tokenizer = tokenizer_of(with_tokens(byte_level(), ("<|return|>", 3), ("<|call|>", 3), ("<|channel|>", 3)))
        n = tokenizer.n_vocab
        assert tokenizer.eog_ids == {n - 3, n - 2}
        assert tokenizer.decode([n - 1]) == "<|channel|>"

    def test_no_unwanted_end_where_s_is_markup(self) -> None:
        tokenizer = tokenizer_of(with_tokens(byte_level(), ("</s>", 4), ("<|tool_response>", 3)))
        assert tokenizer.n_vocab - 2 not in tokenizer.eog_ids
        assert tokenizer_of(with_tokens(byte_level(), ("</s>", 4))).eog_ids >= {TINY.n_vocab}

    def test_old_keys_of_fill_in_the_middle(self) -> None:
        data = with_tokens(byte_level(prefix_token_id=1), ("<fim_prefix>", 1))
        assert not tokenizer_of(data).is_control(TINY.n_vocab), "the key names another"
        assert tokenizer_of(with_tokens(byte_level(), ("<fim_prefix>", 1))).is_control(TINY.n_vocab)


class TestDecoding:
    @given(st.lists(st.integers(0, 258), max_size=40))
    @settings(max_examples=300, deadline=None)
    def test_streaming_equals_the_whole(self, ids: list[int]) -> None:
        for special in (False, True):
            stream = TINY.stream(special)
            pieces = [stream.push(token_id) for token_id in ids]
            assert "".join(pieces) + stream.finish() == TINY.decode(ids, special)
            raw = b"".join(TINY.token_bytes(token_id, special) for token_id in ids)
            assert TINY.decode(ids, special) == raw.decode("utf-8", "replace")

    def test_a_character_comes_whole_and_at_once(self) -> None:
        stream = TINY.stream()
        assert [stream.push(byte) for byte in "é🙂a".encode()] == ["", "é", "", "", "", "🙂", "a"]
        assert stream.finish() == ""

    def test_broken_utf8_is_shown_when_it_is_known_to_be_broken(self) -> None:
        stream = TINY.stream()
        assert [stream.push(byte) for byte in b"\xf0\x9fa\xff"] == ["", "", "\ufffda", "\ufffd"]
        assert stream.push(0xC3) == ""
        assert stream.finish() == "\ufffd"

    def test_unused_tokens_are_silent(self) -> None:
        tokenizer = tokenizer_of(with_tokens(byte_level(), ("[PAD]x", 5)))
        assert tokenizer.decode([tokenizer.n_vocab - 1, ord("a")], special=True) == "a"
        assert tokenizer.token_text(tokenizer.n_vocab - 1) == "[PAD]x"

    def test_ids_of_numpy(self) -> None:
        assert TINY.token_bytes(np.int32(ord("a"))) == b"a"  # type: ignore[arg-type]
        with pytest.raises(TokenizerError, match="ids go from 0 to"):
            TINY.token_bytes(np.int64(10_000))  # type: ignore[arg-type]

    @pytest.mark.parametrize("token_id", [-1, 10_000])
    def test_no_such_id(self, token_id: int) -> None:
        for call in (TINY.token_text, TINY.token_bytes, TINY.is_control, TINY.stream().push):
            with pytest.raises(TokenizerError, match=f"token id {token_id}: ids go from 0 to"):
                call(token_id)

    def test_lone_surrogates(self) -> None:
        for tokenizer in (TINY, tokenizer_of(sentencepiece())):
            assert tokenizer.decode(tokenizer.encode("a\ud800b\ud83d\ude42\udc00")) == "a\ufffdb🙂\ufffd"


class TestHostile:
    def test_how_many_there_are_at_the_least(self) -> None:
        tokenizer = tokenizer_of(byte_level())
        longest = max(len(text.encode()) for text in tokenizer.tokens)
        assert tokenizer.at_least("x" * (3 * longest)) == 3
        assert tokenizer.at_least("é" * (2 * longest)) == 4

    def test_no_vocabulary(self) -> None:
        assert load_tokenizer({"tokenizer.ggml.model": "no_vocab"}) is None
        assert load_tokenizer({"tokenizer.ggml.model": "none"}) is None

    @pytest.mark.parametrize("model", ["hybriddna", "new\nkind"])
    def test_unsupported_models_are_named(self, model: str) -> None:
        with pytest.raises(UnsupportedError) as error:
            load_tokenizer({"tokenizer.ggml.model": model}, "x.gguf")
        assert repr(model) in str(error.value)
        assert all(kind in str(error.value) for kind in KINDS)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("model", [None, 3, ["gpt2"]])
    def test_no_model(self, model: object) -> None:
        with pytest.raises(TokenizerError, match=r"tokenizer\.ggml\.model"):
            load_tokenizer({} if model is None else {"tokenizer.ggml.model": model})

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("tokens", None, "tokens is missing"),
            ("tokens", [], "tokens is missing or empty"),
            ("tokens", "abc", "tokens is str, not an array"),
            ("tokens", ["a", 3], "tokens holds int, not str"),
            ("tokens", ["a", "b", "a"], "tokens holds 'a' twice"),
            ("token_type", [1, 1], "token_type has 2 entries for"),
            ("token_type", [1.0] * 999, "token_type holds float"),
            ("token_type", [-1] * 999, "token_type holds -1"),
            ("token_type", [300] * 999, "token_type holds 300"),
            ("token_type", [6] * 999, r"byte tokens are <0x00> to <0xFF>"),
            ("bos_token_id", 10_000, "bos_token_id is 10000: ids go from 0 to"),
            ("eos_token_id", -1, "eos_token_id is -1"),
            ("eos_token_id", True, "eos_token_id is True"),
            ("eot_token_id", "x", "eot_token_id is 'x'"),
            ("add_bos_token", 1, "add_bos_token is 1, not a boolean"),
            ("add_bos_token", True, "add_bos_token is true, but the file names no bos_token_id"),
            ("pre", 7, "pre is 7, not a name"),
        ],
    )
    def test_one_clear_line(self, key: str, value: object, message: str) -> None:
        data = byte_level() | prefixed({key: value})
        with pytest.raises(TokenizerError, match=message) as error:
            load_tokenizer(data, "x.gguf")
        assert str(error.value).startswith("x.gguf: tokenizer.ggml.")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("text", ["<0x-1>", "<0x100>", "<0x>", "0x41", "<0xG0>", "<0x4 >", "<0x٤1>"])
    def test_malformed_byte_tokens(self, text: str) -> None:
        with pytest.raises(TokenizerError, match="byte tokens are"):
            tokenizer_of(with_tokens(sentencepiece(), (text, 6)) | prefixed({"scores": [0.0] * 9999}))

    def test_a_tiny_vocabulary_with_defaults_out_of_range(self) -> None:
        tokenizer = tokenizer_of(metadata("llama", ["a"], [1]))
        assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.eog_ids) == (None, None, frozenset())
        assert tokenizer.encode("") == []

    def test_a_huge_token(self) -> None:
        data = with_tokens(byte_level(), ("x" * 3_000_000, 4))
        tokenizer = tokenizer_of(data)
        assert tokenizer.encode("x" * 3_000_000 + "y") == [tokenizer.n_vocab - 1, ord("y")]
        assert tokenizer.encode("x" * 100) == TINY.encode("x" * 100)
        data = with_tokens(sentencepiece(), ("x" * 3_000_000, 4)) | prefixed({"scores": [0.0] * 9999})
        tokenizer = tokenizer_of(data)
        assert tokenizer.encode("x" * 3_000_000 + "x")[0] == tokenizer.encode("x" * 3_000_000)[0]


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_threads_may_share_one_that_is_new(make: Any) -> None:
    text = "The quick brown fox <user> jumps" * 20
    for _ in range(5):
        tokenizer = tokenizer_of(make())
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(lambda _, t=tokenizer: tuple(t.encode(text)), range(16)))) == 1


def test_importing_is_cheap() -> None:
    code = (
        "import sys, localllm.text.tokenizer, localllm.text.template, localllm.text.bpe, localllm.text.spm;"
        "print(sorted({'regex', 'jinja2', 'sentencepiece', 'numpy', 'numba'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


TINY = build()

from __future__ import annotations

import time
from typing import Any

import pytest
import regex
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from localllm.errors import TokenizerError
from localllm.text.bpe import BytePairEncoder, _split
from localllm.text.bytelevel import BYTE_TO_CHAR, CHAR_TO_BYTE, to_alphabet, to_bytes
from localllm.text.merge import merge_long, merge_short
from localllm.text.pretokenizers import PRETOKENIZERS
from localllm.text.tokenizer import Tokenizer, load_tokenizer
from tests.text.build import SAMPLE, byte_level, tokenizer_of
from tests.text.reference import merge_by_rank

# Random texts made of what merges and patterns look at, beside any text at all
TEXTS = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from([*SAMPLE.split(), " ", "  ", "\n", "\r\n", "'s", "'LL", "１２", "é", "e\u0301", "\x00", "🙂"])
    ).map("".join),
)


def build(**keys: Any) -> Tokenizer:
    return tokenizer_of(byte_level(**keys))


def ranks_of(merges: list[str]) -> dict[tuple[str, str], int]:
    """The rank of each pair of symbols, by merges as a file has them."""
    return {(left, right): i for i, (left, right) in enumerate(merge.split(" ") for merge in merges)}


def test_alphabet() -> None:
    assert len(set(BYTE_TO_CHAR.values())) == 256
    assert all(CHAR_TO_BYTE[char] == byte for byte, char in BYTE_TO_CHAR.items())
    assert to_alphabet("a b\n") == "aĠbĊ"
    assert to_bytes(to_alphabet("naïve 你\x00")) == "naïve 你\x00".encode()
    assert to_bytes("a b") == b"a b", "an added token with a space stands for itself"


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_round_trip(text: str) -> None:
    assert TINY.decode(TINY.encode(text)) == text


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_same_ids_as_the_tokenizers_package(text: str) -> None:
    assert TINY.encode(text) == PEER.encode(text).ids


@given(st.text(st.sampled_from("abt he"), max_size=200))
@settings(max_examples=200, deadline=None)
def test_long_words_merge_like_short_ones(text: str) -> None:
    symbols = to_alphabet(text)
    want = merge_by_rank(list(symbols), RANKS)
    assert merge_long(symbols, WRITTEN) == want
    assert merge_short(symbols, WRITTEN) == want


@given(
    st.permutations(["a b", "b c", "ab c", "a bc", "c a", "ab ca", "abc abc", "a a", "aa a", "aa aa"]),
    st.text("abc", max_size=60),
)
@settings(max_examples=400, deadline=None)
def test_merges_in_any_order(merges: list[str], word: str) -> None:
    """Orders that no training makes: a merge may make a pair of lower rank."""
    ranks = {merge: i for i, merge in enumerate(merges)}
    want = merge_by_rank(list(word), ranks_of(merges))
    assert merge_long(word, ranks) == want
    assert merge_short(word, ranks) == want


def test_pairs_of_lower_rank_all_the_way_take_linear_time() -> None:
    start = time.thread_time()
    assert merge_long("abc" * 100_000, {"ab c": 0, "a b": 1}) == ["abc"] * 100_000
    assert time.thread_time() - start < 5


def test_ranks_decide_not_length() -> None:
    """Merges that no training would make: a later one makes a pair of lower rank possible."""
    data = byte_level(0)
    data["tokenizer.ggml.merges"] = ["bc d", "a b", "b c", "ab cd"]
    data["tokenizer.ggml.tokens"] = [*data["tokenizer.ggml.tokens"], "ab", "bc", "bcd", "abcd", "cd"]
    data["tokenizer.ggml.token_type"] += [1] * 5
    tokenizer = tokenizer_of(data)
    ranks = ranks_of(data["tokenizer.ggml.merges"])
    for word in ("abcd", "bcd", "abc", "bcbcd", "abcdabcd" * 12):
        want = merge_by_rank(list(word), ranks)
        assert [tokenizer.token_text(i) for i in tokenizer.encode(word)] == want


def test_the_first_of_equal_merges_counts() -> None:
    data = byte_level(0)
    data["tokenizer.ggml.merges"] = ["b c", "a b", "b c"]
    data["tokenizer.ggml.tokens"] = [*data["tokenizer.ggml.tokens"], "ab", "bc"]
    data["tokenizer.ggml.token_type"] += [1] * 2
    tokenizer = tokenizer_of(data)
    assert [tokenizer.token_text(i) for i in tokenizer.encode("abc")] == ["a", "bc"]


def test_ignore_merges_takes_a_word_that_is_a_token() -> None:
    for pre, want in (("llama-bpe", ["xyz"]), ("qwen2", ["x", "y", "z"])):
        data = byte_level(pre=pre, add_bos_token=False)
        data["tokenizer.ggml.tokens"] = [*data["tokenizer.ggml.tokens"], "xyz"]
        data["tokenizer.ggml.token_type"] += [1]
        tokenizer = tokenizer_of(data)
        assert [tokenizer.token_text(i) for i in tokenizer.encode("xyz")] == want


def test_bytes_that_are_no_tokens_are_left_out() -> None:
    data = byte_level()
    data["tokenizer.ggml.tokens"][ord("q")] = "not-q"
    tokenizer = tokenizer_of(data)
    assert tokenizer.decode(tokenizer.encode("aqb")) == "ab"


@pytest.mark.parametrize("text", ["a" * 200_000, " " * 200_000, "世界" * 50_000, "e" + "\u0301" * 100_000])
def test_long_runs_take_linear_time(text: str) -> None:
    start = time.thread_time()
    ids = TINY.encode(text)
    assert time.thread_time() - start < 10, "0.5 s here; a quadratic loop takes minutes"
    assert TINY.decode(ids) == text


def test_gemma4_merges_utf8_text() -> None:
    data = byte_level(0)
    tokens = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "\n", "\n\n", "ab"]
    data |= {"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.add_bos_token": False}
    data["tokenizer.ggml.token_type"] = [6] * 256 + [1] * 7
    data["tokenizer.ggml.merges"] = ["▁ a", "a b"]
    tokenizer = tokenizer_of(data)
    assert [tokenizer.token_text(i) for i in tokenizer.encode("ab a\n\né")] == ["ab", "▁a", "\n\n", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("ab a\n\né")) == "ab a\n\né"
    assert tokenizer.encode("ab", add_special=True) == tokenizer.encode("ab")
    tokenizer = tokenizer_of(data | {"tokenizer.ggml.bos_token_id": 3})
    assert tokenizer.encode("ab", add_special=True) == [3, *tokenizer.encode("ab")]


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (None, "merges is missing"),
        (["ab"], "entry 0 is 'ab': a merge is two tokens"),
        (["a b", 3], "merges holds int, not str"),
        ("a b", "merges is str, not an array"),
    ],
)
def test_bad_merges(merges: object, message: str) -> None:
    data = byte_level()
    data["tokenizer.ggml.merges"] = merges
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(data, "x.gguf")


def test_every_pattern_compiles_and_loses_nothing() -> None:
    text = SAMPLE + " ΣΑΣ ǅ x\u0301 ١٢٣٤ \u3000\xa0\x85 <|x|> '' \r\n\n\r a\n"
    for name, row in PRETOKENIZERS.items():
        for pattern in row.patterns:
            regex.compile(pattern)
        if row.characters:
            continue
        tokenizer = build(pre=name, add_bos_token=False)
        assert tokenizer.decode(tokenizer.encode(text)) == text, name


@pytest.mark.parametrize(
    ("pre", "text", "words"),
    [
        ("gpt-2", "I'm  here 1234\n\n x", ["I", "'m", " ", " here", " 1234", "\n\n", " x"]),
        ("qwen2", "I'M 1234\n\n x", ["I", "'M", " ", "1", "2", "3", "4", "\n\n", " x"]),
        ("llama-bpe", "12345 (ok)\r\n", ["123", "45", " (", "ok", ")\r\n"]),
        ("smollm", "a12 b", ["a", "1", "2", " b"]),
        ("default", "a.b 12345", ["a", ".", "b", " ", "123", "45"]),
        ("falcon", "x=`1234`", ["x", "=`", "123", "4", "`"]),
        ("gpt-4o", "HelloWorld's", ["Hello", "World's"]),
        ("tekken", "HelloWorld", ["Hello", "World"]),
        ("deepseek-v3", "x世界1234", ["x", "世界", "123", "4"]),
        ("deepseek-llm", "\u3000。 a", ["\u3000", "。", " a"]),
        ("superbpe", "1234567", ["1", "234", "567"]),
        ("superbpe", "x1234 12３456", ["x", "1", "234", " ", "12３", "456"]),
        ("tiny_aya", "a1234567 12", ["a", "1", "234", "567", " ", "12"]),
        ("laguna", "a b\n\nc", ["a", " b", "\n\n", "c"]),
        ("qwen35", "नमस्ते", ["नमस्ते"]),
        ("kimi-k2", "你好abc世界's 1234  x", ["你好", "abc", "世界", "'s", " ", "123", "4", " ", " x"]),
        ("kimi-k2", "don't (漢字)\n", ["don't", " (", "漢字", ")\n"]),
        (
            "chameleon",
            "IMGIMGABZ<s:12> a.b    1",
            ["IMGIMGABZ", "<", "s", ":", "1", "2", ">", " a", ".", "b", "    ", "1"],
        ),
        ("whitespace", " a b\u3000cd\n", ["a", "b", "cd"]),
        ("qwen2", "नमस्ते", ["नमस", "्त", "े"]),
    ],
)
def test_words(pre: str, text: str, words: list[str]) -> None:
    encoder = build(pre=pre)._encoder
    assert isinstance(encoder, BytePairEncoder)
    assert list(encoder._words(text)) == words


RUNS = ["{}", "{}x", "x{}x"]


@pytest.mark.parametrize("run", [" ", "\n", " \n", "a", "A", "aA", "1", "漢", "!", "'", "\u0301", "=a", "\u3000"])
def test_patterns_take_linear_time(run: str) -> None:
    for row in set(PRETOKENIZERS.values()):
        for pattern in map(regex.compile, row.patterns):
            for form in RUNS:
                text = form.format(run * 20_000)
                start = time.thread_time()
                assert "".join(_split(pattern, text)) == text
                assert time.thread_time() - start < 2, (pattern.pattern, form)


@pytest.mark.parametrize(("pre", "said"), [("brand-new", "'brand-new'"), (None, "names no pre-tokenizer")])
def test_unknown_pretokenizer_is_said(pre: str | None, said: str, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = build(pre=pre)
    assert said in caplog.text
    assert "'default' is used" in caplog.text
    assert tokenizer.encode("hi")


TINY = build()
RANKS = ranks_of(byte_level()["tokenizer.ggml.merges"])
WRITTEN = {" ".join(pair): rank for pair, rank in RANKS.items()}
PEER = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(TINY.tokens)}, list(RANKS)))
PEER.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
PEER.decoder = decoders.ByteLevel()
PEER.add_tokens(["<user>"])

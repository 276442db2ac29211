"""Vocabularies that are wrong, or want to do harm: one clear error, when the tokenizer is made or when it is first
used, and never a hang. Numbers in comments are the classes of malformed files that they stand for."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import regex

from localllm.errors import LocalllmError, TokenizerError, UnsupportedError
from localllm.gate import vocabulary as gate
from localllm.text import bpe, bulk, charsmap, sentencepiece_proto
from localllm.text.charsmap import CharsMap
from localllm.text.tokenizer import load_tokenizer
from localllm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN
from tests.text.build import byte_level, metadata, prefixed, sentencepiece, tokenizer_of, with_tokens
from tests.text.test_models import chars_map

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b"]


def wordpiece(**keys: Any) -> dict[str, Any]:
    return metadata("bert", WORDS, [CONTROL, UNKNOWN, CONTROL, CONTROL, NORMAL, NORMAL]) | prefixed(keys)


def of_unigram(**keys: Any) -> dict[str, Any]:
    tokens, types = ["<pad>", "</s>", "<unk>", "▁a", "b", "▁"], [CONTROL, CONTROL, UNKNOWN, NORMAL, NORMAL, NORMAL]
    return metadata("t5", tokens, types, scores=[0.0, 0.0, 0.0, -1.0, -2.0, -3.0]) | prefixed(keys)


def rwkv(**keys: Any) -> dict[str, Any]:
    return metadata("rwkv", ["<s>", "a", "\\x62", "\\n"], [CONTROL, NORMAL, NORMAL, NORMAL]) | prefixed(keys)


def one_byte(token: str) -> dict[str, Any]:
    none = dict.fromkeys(("bos_token_id", "eos_token_id", "unknown_token_id"))
    return {"tokens": [token], "token_type": [BYTE], "scores": [0.0]} | none


MANY = " ".join("ab" + "".join(chr(97 + i // 26**k % 26) for k in range(4)) + "x" * (i % 30) for i in range(9000))
"""New words enough for compiled code."""

KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "gpt2": byte_level, "llama": sentencepiece, "bert": wordpiece, "t5": of_unigram, "rwkv": rwkv,
}  # fmt: skip
NAN, INFINITE = float("nan"), float("inf")

# name: (the kind, keys that are replaced, words the message must hold)
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    # the vocabulary: 68, 70, 71
    "no tokens": ("gpt2", {"tokens": None}, "tokens is missing or empty"),
    "an empty list": ("gpt2", {"tokens": []}, "tokens is missing or empty"),
    "tokens as a text": ("gpt2", {"tokens": "abc"}, "tokens is str, not an array"),
    "tokens as a number": ("gpt2", {"tokens": 7}, "tokens is int, not an array"),
    "tokens as numbers": ("gpt2", {"tokens": [1, 2]}, "tokens holds int, not str"),
    "a token twice": ("gpt2", {"tokens": ["a", "b", "a"], "token_type": [1] * 3}, "tokens holds 'a' twice"),
    "an empty token's name is taken": (
        "gpt2", {"tokens": ["", "[EMPTY_0]"], "token_type": [1] * 2}, "tokens holds '[EMPTY_0]' twice",
    ),
    "types too short": ("gpt2", {"token_type": [1]}, "token_type has 1 entries for"),
    "types as texts": ("gpt2", {"token_type": ["1"]}, "token_type holds str, not int"),
    "a type below 0": ("llama", {"token_type": [-1] * 999}, "token_type holds -1: types go from 1 to 6"),
    "a type of 2^31": ("llama", {"token_type": [2**31] * 999}, "token_type holds 2147483648"),
    "scores too short": ("llama", {"scores": [0.0]}, "scores has 1 entries for"),
    "scores as texts": ("llama", {"scores": ["a"]}, "scores holds str, not float or int"),
    "a score of NaN": ("llama", {"scores": [NAN] * 999}, "scores holds a value that is not finite"),
    "a score of Inf": ("t5", {"scores": [0.0] * 5 + [-INFINITE]}, "scores holds a value that is not finite"),
    # special ids: 72
    "an id past the vocabulary": ("gpt2", {"eos_token_id": 2**31}, "eos_token_id is 2147483648: ids go from 0 to"),
    "an id of 2^63": ("llama", {"unknown_token_id": 2**63}, "unknown_token_id is 9223372036854775808"),
    "an id below 0": ("llama", {"bos_token_id": -1}, "bos_token_id is -1: ids go from 0 to"),
    "an id as a text": ("bert", {"seperator_token_id": "3"}, "seperator_token_id is '3'"),
    "an id as a bool": ("bert", {"bos_token_id": True}, "bos_token_id is True"),
    "an id of infill": ("gpt2", {"fim_pre_token_id": 2**32 - 1}, "fim_pre_token_id is 4294967295"),
    "ids of endings": ("gpt2", {"eot_token_id": 1 << 40}, "eot_token_id is 1099511627776"),
    "a flag as a number": ("gpt2", {"add_bos_token": 1}, "add_bos_token is 1, not a boolean"),
    "EOS is asked for, and there is none": ("gpt2", {"add_eos_token": True}, "the file names no eos_token_id"),
    "BOS is asked for, and there is none": ("gpt2", {"add_bos_token": True}, "the file names no bos_token_id"),
    # merges: 73
    "no merges": ("gpt2", {"merges": None}, "merges is missing: byte-pair encoding needs it"),
    "a merge without a space": ("gpt2", {"merges": ["a b", "ab"]}, "merges entry 1 is 'ab': a merge is two tokens"),
    "merges as numbers": ("gpt2", {"merges": [1]}, "merges holds int, not str"),
    # byte tokens: 74, and llama.cpp's `<0x-1>`
    "a byte of -1": ("llama", one_byte("<0x-1>"), "tokens entry 0 is '<0x-1>': byte tokens are"),
    "a byte without an end": ("llama", one_byte("<0x1"), "tokens entry 0 is '<0x1': byte tokens are"),
    "a byte of other letters": ("llama", one_byte("<0xGG>"), "tokens entry 0 is '<0xGG>': byte tokens are"),
    "a byte of another form": ("llama", one_byte("<1x00>"), "tokens entry 0 is '<1x00>': byte tokens are"),
    "a byte that goes on": ("llama", one_byte("<0x00)"), "tokens entry 0 is '<0x00)': byte tokens are"),
    # the character map: 76
    "a map of 3 bytes": ("t5", {"precompiled_charsmap": [1, 2, 3]}, "precompiled_charsmap is too short"),
    "a map as texts": ("t5", {"precompiled_charsmap": ["a"]}, "precompiled_charsmap holds str, not int"),
    "a trie longer than the map": ("t5", {"precompiled_charsmap": [255] * 8}, "4294967295 of them are its trie"),
    "no normal token": ("t5", {"token_type": [CONTROL] * 6}, "makes no token a normal one"),
    # kinds and pre-tokenizers: 77
    "an escape without digits": ("rwkv", {"tokens": ["\\xZZ"], "token_type": [1]}, "has no two hexadecimal digits"),
    "an escape without an end": ("rwkv", {"tokens": ["a\\"], "token_type": [1]}, "ends in a backslash"),
    "a pre-tokenizer that is a number": ("gpt2", {"pre": 3}, "pre is 3, not a name"),
}  # fmt: skip


def make_and_use(data: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(data, "bad.gguf")
    assert tokenizer
    tokenizer.encode("a b")


@pytest.mark.parametrize("name", CASES)
def test_hostile_vocabulary_is_refused(name: str) -> None:
    kind, changes, words = CASES[name]
    data = {key: value for key, value in (KINDS[kind]() | prefixed(changes)).items() if value is not None}
    with pytest.raises(TokenizerError) as caught:
        make_and_use(data)
    message = str(caught.value)
    assert message.startswith("bad.gguf: tokenizer.ggml.")
    assert words in message
    assert "\n" not in message
    assert len(message) < 300


def test_kinds_that_are_none() -> None:
    with pytest.raises(TokenizerError, match=r"^x: tokenizer.ggml.model is missing: this file has no tokenizer"):
        load_tokenizer({}, "x")
    with pytest.raises(TokenizerError, match=r"^tokenizer.ggml.model is 7: this file"):
        load_tokenizer({"tokenizer.ggml.model": 7})
    with pytest.raises(UnsupportedError, match=r"the tokenizer model 'wordle' is not supported; supported are gpt2, "):
        load_tokenizer({"tokenizer.ggml.model": "wordle"})
    assert load_tokenizer({"tokenizer.ggml.model": "no_vocab"}) is None


def test_more_merges_than_any_vocabulary_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_MERGES", 100)
    with pytest.raises(TokenizerError, match="merges has 101 entries, at most 100 are taken"):
        tokenizer_of(byte_level() | prefixed({"merges": ["a b"] * 101}))


def test_merges_that_go_in_circles() -> None:
    """73: each makes what another one takes; a merge shortens a word, so that it ends all the same."""
    data = byte_level() | prefixed({"merges": ["a b", "ab a", "b a", "ba b", "ab ab", "a  b", "  "]})
    tokenizer = tokenizer_of(data)
    for text in ("ab" * 5000, "ba" * 5000 + " "):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_of_ten_megabytes(kind: str) -> None:
    """75."""
    data = KINDS[kind]()
    data["tokenizer.ggml.tokens"] = [*data["tokenizer.ggml.tokens"][:-1], "a" * 10_000_000]
    start = time.thread_time()
    tokenizer = tokenizer_of(data)
    assert tokenizer.encode("a")
    assert time.thread_time() - start < 2


@pytest.mark.parametrize("kind", ["bert", "t5", "rwkv"])
def test_tokens_of_very_many_lengths_that_begin_alike(kind: str) -> None:
    """A search for the longest would take as many steps at each character."""
    n = 600
    tokens = ["<unk>", *("aa" + "b" * i for i in range(n))]
    data = metadata(kind, tokens, [UNKNOWN] + [NORMAL] * n, scores=[0.0] * (n + 1), unknown_token_id=0)
    with pytest.raises(TokenizerError, match=r"tokens holds tokens of 60\d lengths that begin alike, at most 512"):
        tokenizer_of(data).encode("aab")


def charsmap_of(units: list[int], texts: bytes = b"x\0") -> bytes:
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts


TRIE_OF_A = {0: 1 << 10, 1 ^ ord("a"): (2 << 10) | 1 << 8 | ord("a")}
"""A root whose children begin at unit 1, and among them the letter a, whose value is in the unit that it leads to."""


def units_of(more: dict[int, int], n: int = 256) -> list[int]:
    placed = TRIE_OF_A | more
    return [placed.get(i, 0) for i in range(n)]


VALUE_AT = 1 ^ ord("a") ^ 2


class TestCharacterMaps:
    def test_a_trie_of_one_letter(self) -> None:
        assert CharsMap(charsmap_of(units_of({VALUE_AT: 1 << 31}))).apply("banana") == "bxnxnx"

    def test_no_trie_at_all(self) -> None:
        assert CharsMap(charsmap_of([])).apply("a") == "a"

    def test_keys_of_one_length_that_begin_alike(self) -> None:
        assert CharsMap(chars_map({"ab": "x", "ac": "y", "abc": "z"})).apply("ab ac abc a") == "x y z a"

    def test_a_replacement_past_the_texts(self) -> None:
        with pytest.raises(ValueError, match="names a replacement at byte 99 of 2"):
            CharsMap(charsmap_of(units_of({VALUE_AT: 1 << 31 | 99})))

    def test_a_replacement_without_an_end(self) -> None:
        with pytest.raises(ValueError, match="names a replacement at byte 0 of 1"):
            CharsMap(charsmap_of(units_of({VALUE_AT: 1 << 31}), b"x"))

    def test_a_node_that_leads_out(self) -> None:
        far = {1 ^ ord("a"): (1 << 20 << 10) | 1 << 8 | ord("a")}
        with pytest.raises(ValueError, match="has a trie that leads to unit 1048"):
            CharsMap(charsmap_of(units_of(far)))

    def test_a_key_that_is_no_text(self) -> None:
        """No text holds it: it is passed over."""
        bad = {1 ^ 0xFF: (2 << 10) | 1 << 8 | 0xFF, 1 ^ 0xFF ^ 2: 1 << 31}
        assert CharsMap(charsmap_of(units_of({VALUE_AT: 1 << 31} | bad))).apply("a\udcff") == "x\udcff"

    def test_a_trie_that_goes_in_circles(self) -> None:
        circle = {1 ^ ord("a"): (ord("a") << 10) | ord("a")}
        start = time.thread_time()
        with pytest.raises(ValueError, match="has a trie without end"):
            CharsMap(charsmap_of(units_of(circle)))
        assert time.thread_time() - start < 2

    def test_too_many_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(charsmap, "_MAX_NODES", 0)
        with pytest.raises(ValueError, match="has a trie without end"):
            CharsMap(charsmap_of(units_of({VALUE_AT: 1 << 31})))

    def test_too_long_replacements(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(charsmap, "_MAX_TEXT", -1)
        with pytest.raises(ValueError, match="has replacements of more than -1 bytes in all"):
            CharsMap(charsmap_of(units_of({VALUE_AT: 1 << 31})))


class TestEdges:
    """What vocabularies of hubs do not have, and files may."""

    def test_whitespace_kind(self) -> None:
        data = metadata("whitespace", ["ab", "c", "a", "b"], [NORMAL] * 4, merges=["a b"])
        tokenizer = tokenizer_of(data | prefixed({"normalizer.lowercase": True}))
        assert tokenizer.encode("AB  c\nab") == [0, 1, 0]
        assert tokenizer.decode([0, 1]) == "abc"
        assert tokenizer_of(data).encode("AB ab") == [0]

    def test_merges_may_lack_for_kimi(self) -> None:
        data = byte_level(0, pre="kimi-k2")
        del data["tokenizer.ggml.merges"]
        assert tokenizer_of(data).encode("ab") == [ord("a"), ord("b")]

    def test_a_merge_with_two_spaces(self) -> None:
        """Its second part holds a space, which no word does."""
        tokenizer = tokenizer_of(byte_level() | prefixed({"merges": ["a  b", "a b"]}))
        assert tokenizer.decode(tokenizer.encode(MANY)) == MANY

    def test_many_words_a_few_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = tokenizer_of(byte_level()).encode(MANY)
        monkeypatch.setattr(bulk, "_MAX_SYMBOLS", 1000)
        assert tokenizer_of(byte_level()).encode(MANY) == whole

    def test_words_that_are_tokens_among_many(self) -> None:
        text = f"! {MANY}"
        assert tokenizer_of(byte_level()).encode(text)[0] == ord("!")
        merger = bulk.BulkMerger(np.array([[0, 1, 0, 2]], np.int32), {"a": 0, "b": 1, "ab": 2}, 3)
        assert list(merger.merge([], lambda text: [])) == []
        assert list(merger.merge(["aab"], lambda text: [])) == [[0, 2]]

    def test_no_types_at_all(self) -> None:
        data = byte_level()
        del data["tokenizer.ggml.token_type"]
        assert tokenizer_of(data).encode("<|end|>") == tokenizer_of(byte_level()).encode("<|end|>")

    def test_special_tokens_by_their_text(self) -> None:
        tokenizer = tokenizer_of(sentencepiece())
        assert (tokenizer.special_id("<s>"), tokenizer.special_id("the"), tokenizer.special_id("?")) == (1, None, None)

    def test_the_least_number_of_tokens(self) -> None:
        assert tokenizer_of(wordpiece()).at_least("a" * 1000) == 0
        assert 0 < tokenizer_of(byte_level()).at_least("a" * 1000) <= len(tokenizer_of(byte_level()).encode("a" * 1000))

    def test_the_least_number_where_bytes_may_get_lost(self) -> None:
        few = byte_level()
        few["tokenizer.ggml.tokens"][ord("a")] = "[a]"  # its bytes are left out of texts
        lost = byte_level()
        lost["tokenizer.ggml.merges"] = ["Q Q", *lost["tokenizer.ggml.merges"]]  # and so is what this makes
        unknown = sentencepiece(bytes_too=False)  # a token of four bytes at a time
        strips = byte_level() | {"general.name": "Phi-3"}  # white space behind a special token
        for data in (few, lost, unknown, strips):
            tokenizer = tokenizer_of(data)
            for text in ("a" * 1000, "Q" * 1000, "😀" * 1000, "<user>" + " " * 1000):
                assert tokenizer.at_least(text) <= len(tokenizer.encode(text))
            assert tokenizer.at_least("a" * 1000) == 0
        assert tokenizer_of(few).at_least("b" * 1000) > 0

    def test_inside_of_a_text(self) -> None:
        tokenizer = tokenizer_of(sentencepiece())
        assert tokenizer.encode_inside("<s>the") == tokenizer.encode_inside("<s>") + tokenizer.encode_inside("the")
        assert tokenizer.encode_inside("the") != tokenizer.encode("the")

    @pytest.mark.parametrize("bytes_too", [True, False])
    def test_many_words_go_to_sentencepiece(self, bytes_too: bool) -> None:
        """What is in no token is the unknown one, by either way; once loaded, the package gets fewer words at a time,
        too."""
        data = with_tokens(sentencepiece(bytes_too), ("<unknown>", NORMAL), ("<unknown>>", NORMAL), ("x" * 200, NORMAL))
        data["tokenizer.ggml.scores"] += [-1000.0] * 3
        tokenizer = tokenizer_of(data)
        words = [f"{i:05}the界{'x' * (i % 3 * 100)}" for i in range(2000)]
        at_once = tokenizer.encode(" ".join(words))
        again = tokenizer.encode(" ".join(word[::-1] for word in words[:300]))
        assert tokenizer._encoder._processor  # type: ignore[attr-defined]
        for text, ids in ((words, at_once), ([word[::-1] for word in words[:300]], again)):
            alone = tokenizer_of(data)
            assert ids == [token_id for word in text for token_id in alone.encode(word)]

    def test_many_words_and_no_unknown_token(self) -> None:
        data = sentencepiece(bytes_too=False, unknown_token_id=None)
        data["tokenizer.ggml.token_type"][0] = NORMAL
        with pytest.raises(TokenizerError, match="unknown_token_id is missing"):
            tokenizer_of(data).encode(" ".join(f"{i:05}界" for i in range(4000)))

    def test_what_sentencepiece_refuses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sentencepiece_proto, "model_proto", lambda vocab, scores: b"\x0a\x00")
        with pytest.raises(TokenizerError, match="tokens cannot be loaded by sentencepiece: "):
            tokenizer_of(sentencepiece()).encode(MANY)

    def test_a_token_across_words(self) -> None:
        data = with_tokens(sentencepiece(), ("e▁", NORMAL), ("e▁q", NORMAL))
        data["tokenizer.ggml.scores"] += [1.0, 2.0]
        tokenizer = tokenizer_of(data)
        assert tokenizer.n_vocab - 1 in tokenizer.encode("the quick")
        assert tokenizer.decode(tokenizer.encode("the quick")) == "the quick"

    def test_a_token_that_holds_a_nul(self) -> None:
        data = with_tokens(sentencepiece(), ("a\0b", NORMAL))
        data["tokenizer.ggml.scores"] += [-0.5]
        assert tokenizer_of(data).decode(tokenizer_of(data).encode("the a\0b")) == "the a\0b"

    def test_words_of_a_byte_level_text_with_gaps(self) -> None:
        assert bpe._split(regex.compile("b+"), "abba") == ["a", "bb", "a"]

    def test_a_flag_is_asked_for_only_where_it_is_set(self) -> None:
        with pytest.raises(LocalllmError, match="add_sep_token is true, but the file names no sep_token_id"):
            tokenizer_of(wordpiece(seperator_token_id=None, add_sep_token=True, token_type=[NORMAL] * 6))

    def test_tokens_that_are_long_and_special(self) -> None:
        name = "<|" + "name" * 40 + "|>"
        tokenizer = tokenizer_of(with_tokens(byte_level(), (name, CONTROL)))
        assert tokenizer.encode(f"a{name}", parse_special=True) == [ord("a"), tokenizer.n_vocab - 1]

    def test_space_before_a_mask_is_swallowed(self) -> None:
        data = with_tokens(byte_level(pre="jina-v2-de"), ("<mask>", CONTROL))
        tokenizer = tokenizer_of(data)
        assert tokenizer.encode("a  <mask> b", parse_special=True)[:2] == [ord("a"), tokenizer.n_vocab - 1]
        assert tokenizer_of(byte_level(pre="jina-v2-de")).encode("a") == [ord("a")]

    def test_space_before_a_mask_of_modern_bert(self) -> None:
        data = with_tokens(byte_level(), ("[MASK]", CONTROL)) | {"general.name": "Modern-BERT base"}
        tokenizer = tokenizer_of(data)
        assert tokenizer.encode("a [MASK]", parse_special=True) == [ord("a"), tokenizer.n_vocab - 1]

    def test_a_score_is_used_by_the_id(self) -> None:
        tokenizer = tokenizer_of(of_unigram(add_space_prefix=True))
        assert [tokenizer.token_text(i) for i in tokenizer.encode("ab")] == ["▁a", "b"]

    def test_a_cache_of_words_that_is_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for kind, module in (("bert", "wordpiece"), ("t5", "unigram"), ("gpt2", "bpe"), ("llama", "spm")):
            monkeypatch.setattr(f"localllm.text.{module}._CACHED_WORDS", 2)
            monkeypatch.setattr(f"localllm.text.{module}._CACHED_LENGTH", 5)
            tokenizer, text = tokenizer_of(KINDS[kind](unknown_token_id=1)), "a b ab abababab a b ba"
            assert tokenizer.encode(text) == tokenizer.encode(text), kind
            assert tokenizer_of(KINDS[kind](unknown_token_id=1)).encode(text) == tokenizer.encode(text), kind

    def test_a_map_that_makes_nothing_of_a_text(self) -> None:
        empty = charsmap_of(units_of({VALUE_AT: 1 << 31}), b"\0")
        tokenizer = tokenizer_of(of_unigram(precompiled_charsmap=list(empty)))
        assert tokenizer.encode("aaa") == []

    def test_unicode_that_is_no_text(self) -> None:
        """A lone surrogate is read as U+FFFD, by each kind."""
        for kind in KINDS:
            tokenizer = tokenizer_of(KINDS[kind](unknown_token_id=0))
            assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb"), kind

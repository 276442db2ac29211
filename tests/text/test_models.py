"""The tokenizer models bert, t5 and rwkv against slow, obvious twins."""

from __future__ import annotations

import contextlib
import math
import struct
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.errors import TokenizerError
from localllm.text.charsmap import CharsMap
from localllm.text.pairs import pair_ids
from localllm.text.rwkv import unescape
from localllm.text.tokenizer import Tokenizer
from localllm.text.vocabulary import CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from tests.text.build import byte_level, metadata, prefixed, sentencepiece, tokenizer_of

WORDS = "the quick brown fox jump over a lazy dog s ing ed er un happy 1 2 33".split()  # noqa: SIM905


def load(data: dict[str, Any]) -> Tokenizer:
    return tokenizer_of(data)


# --- bert

PIECES = [*(f"▁{word}" for word in WORDS), *WORDS, *"abcdefghijklmnop", "▁,", "▁中"]
BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(PIECES)]
BERT = metadata(
    "bert",
    BERT_TOKENS,
    [CONTROL, UNKNOWN, CONTROL, CONTROL] + [NORMAL] * (len(BERT_TOKENS) - 4),
    bos_token_id=2,
    unknown_token_id=1,
    seperator_token_id=3,
)


def words_of(text: str) -> list[str]:
    """What BertNormalizer and BertPreTokenizer make of a text of ASCII and a few more."""
    out = ""
    for char in unicodedata.normalize("NFD", text):
        if char.isspace():
            out += " "
        elif unicodedata.category(char) in ("Cc", "Cf", "Mn") or char == "\ufffd":
            continue
        elif unicodedata.category(char)[0] == "P" or char in "$+<=>^`|~" or char == "中":
            out += f" {char} "
        else:
            out += char.lower()
    return out.split()


def greedy(word: str, tokens: list[str]) -> list[str]:
    rest, found = "▁" + word, []
    while rest:
        best = max((token for token in tokens if rest.startswith(token)), key=len, default=None)
        if best is None:
            return ["[UNK]"]
        found.append(best)
        rest = rest[len(best) :]
    return found


class TestBert:
    @given(st.lists(st.sampled_from([*WORDS, " ", "  ", "\n", "É", "é", "e\u0301", "中", ",", "$", "\x00", "Dog"])))
    @settings(max_examples=200, deadline=None)
    def test_same_as_the_slow_twin(self, parts: list[str]) -> None:
        text = "".join(parts)
        tokenizer = load(BERT)
        want = [token for word in words_of(text) for token in greedy(word, BERT_TOKENS)]
        assert [tokenizer.token_text(i) for i in tokenizer.encode(text)] == want

    def test_special_tokens(self) -> None:
        tokenizer = load(BERT)
        assert tokenizer.encode("", add_special=True) == [2, 3]
        assert tokenizer.encode("[CLS]", parse_special=True) == [2]

    @pytest.mark.parametrize(
        ("keys", "frame"),
        [
            ({}, ([2], [3], [])),
            ({"add_sep_token": False}, ([2], [], [])),
            ({"add_eos_token": True, "eos_token_id": 3, "add_sep_token": False}, ([2], [3], [3])),
            ({"add_bos_token": False, "add_eos_token": True}, ([], [3, 3], [3])),
        ],
    )
    def test_what_the_file_asks_for_goes_for_pairs(self, keys: dict, frame: tuple) -> None:
        """As llama.cpp's llama_tokenize and its server have it: a single text has BOS and SEP, always."""
        tokenizer = load(BERT | prefixed(keys))
        fox = tokenizer.encode("fox")
        assert tokenizer.encode("fox", add_special=True) == [2, *fox, 3]
        before, between, after = frame
        assert pair_ids(tokenizer, "fox", "fox") == [*before, *fox, *between, *fox, *after]

    def test_a_pair_through_a_template(self) -> None:
        """Places in the texts are not filled."""
        tokenizer = load(BERT)
        text = "[CLS] the fox {document} over dog [SEP]"
        got = pair_ids(tokenizer, "fox {document}", "dog", "[CLS] the {query} over {document} [SEP]")
        assert got == tokenizer.encode(text, parse_special=True)

    def test_what_is_lost_is_what_the_normaliser_says(self) -> None:
        tokenizer = load(BERT)
        assert tokenizer.decode(tokenizer.encode("The  QUICK\tfox,jumped")) == "the quick fox , jumped"

    def test_case_is_kept_where_the_file_says_so(self) -> None:
        tokenizer = load(BERT | prefixed({"normalizer.lowercase": False}))
        assert tokenizer.encode("The fox") == [1, BERT_TOKENS.index("▁fox")]

    def test_no_unknown_token(self) -> None:
        data = BERT | prefixed({"unknown_token_id": None, "token_type": [NORMAL] * len(BERT_TOKENS)})
        with pytest.raises(TokenizerError, match="unknown_token_id is missing, and '▁ж' is in no token"):
            load(data).encode("ж")


# --- t5


def chars_map(replacements: dict[str, str]) -> bytes:
    """A precompiled character map: a double array with a block of 256 units for each node."""
    nodes: dict[bytes, int] = {b"": 1}
    for key in replacements:
        for n in range(1, len(key.encode()) + 1):
            nodes.setdefault(key.encode()[:n], len(nodes) + 1)
    units = [0] * (256 * (len(nodes) + 1))
    texts, places = b"", {}
    for key, text in replacements.items():
        places[key.encode()] = len(texts)
        texts += text.encode() + b"\0"

    def unit(place: int, node: bytes, label: int) -> int:
        return (place ^ 256 * nodes[node]) << 10 | (node in places) << 8 | label

    units[0] = unit(0, b"", 0)
    for node in nodes:
        if node:
            place = 256 * nodes[node[:-1]] ^ node[-1]
            units[place] = unit(place, node, node[-1])
        if node in places:
            units[256 * nodes[node]] = 1 << 31 | places[node]
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts


REPLACED = {"ﬁ": "fi", "e\u0301": "é", "Ａ": "a", "\u3000": " ", "x": "", "e\u0301\u0301": "E"}
T5_TOKENS = ["<pad>", "</s>", "<unk>", *dict.fromkeys([*(f"▁{word}" for word in WORDS), *WORDS, *"▁abcdefghiéE"])]
T5_SCORES = [0.0] * 3 + [-float(2 + (7 * i) % 23) / 4 * math.sqrt(len(t)) for i, t in enumerate(T5_TOKENS[3:])]
T5 = metadata(
    "t5",
    T5_TOKENS,
    [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * (len(T5_TOKENS) - 3),
    scores=T5_SCORES,
    unknown_token_id=2,
    add_space_prefix=True,
    remove_extra_whitespaces=True,
    precompiled_charsmap=list(chars_map(REPLACED)),
)


def best_score(text: str) -> tuple[float, list[str]]:
    """Looks at every way to write a text; unknown characters one by one."""
    if not text:
        return 0.0, []
    ways = []
    for token, score in zip(T5_TOKENS[3:], T5_SCORES[3:], strict=True):
        if text.startswith(token):
            rest, tokens = best_score(text[len(token) :])
            ways.append((score + rest, [token, *tokens]))
    if text[0] not in T5_TOKENS:
        rest, tokens = best_score(text[1:])
        ways.append((min(T5_SCORES) - 10 + rest, ["<unk>", *tokens]))
    return max(ways, key=lambda way: way[0])


class TestT5:
    @given(st.text(st.sampled_from("aehdog lz¿"), max_size=10))
    @settings(max_examples=150, deadline=None)
    def test_the_best_of_all_ways(self, text: str) -> None:
        tokenizer = load(T5)
        ids = tokenizer.encode(text)
        score, tokens = best_score("".join("▁" + word for word in text.split(" ") if word))
        merged = [t for i, t in enumerate(tokens) if t != "<unk>" or not i or tokens[i - 1] != "<unk>"]
        assert len([i for i in ids if i == 2]) == merged.count("<unk>")
        if "<unk>" not in merged:
            assert math.isclose(sum(T5_SCORES[i] for i in ids), score, abs_tol=1e-9)

    @given(st.text(st.sampled_from([*"ﬁe\u0301Ａ\u3000xab "]), max_size=30))
    def test_the_character_map_takes_the_longest_key(self, text: str) -> None:
        rest, want = text, ""
        while rest:
            key = max((key for key in REPLACED if rest.startswith(key)), key=len, default=None)
            want += rest[0] if key is None else REPLACED[key]
            rest = rest[len(key or " ") :]
        assert CharsMap(chars_map(REPLACED)).apply(text) == want

    def test_special_tokens_and_spaces(self) -> None:
        tokenizer = load(T5)
        ids = tokenizer.encode("a dog")
        assert tokenizer.encode("  a  \u3000 dog ", add_special=True) == [*ids, 1]
        assert tokenizer.encode(" ") == []
        assert tokenizer.decode([*ids, 1]) == "a dog"
        kept = load(T5 | prefixed({"remove_extra_whitespaces": False, "add_space_prefix": False}))
        assert kept.decode(kept.encode("  dog a")) == "  dog a"

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([1, 2], "too short"),
            ([255, 255, 255, 255, 0], "says that 4294967295 of them"),
            ("abc", "is str, not an array"),
            (["a"], "holds str"),
            (list(struct.pack("<III", 8, 0, 1 | 1 << 8 | 99 << 10) + b"x\0"), "leads to unit 98 of 2"),
            (list(struct.pack("<III", 8, 0, 1 | 1 << 10) + b"x\0"), "without end"),
            (list(chars_map({"a": "b"})[:-1]), "names a replacement at byte 0 of 1"),
        ],
    )
    def test_bad_maps(self, value: object, message: str) -> None:
        with pytest.raises(TokenizerError, match=message):
            load(T5 | prefixed({"precompiled_charsmap": value})).encode("a")

    @given(st.binary(max_size=400))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes_for_a_map(self, units: bytes) -> None:
        units = units[: len(units) // 4 * 4]
        data = struct.pack("<I", len(units)) + units + b"text\0more\0"
        with contextlib.suppress(ValueError):
            CharsMap(data).apply("any text")


# --- rwkv

RWKV_TEXTS = [b"<s>", *(bytes([i]) for i in range(256)), b"the", b"th", b" the", b"\n\n", "é".encode(), b"abcd", b"'t"]


def escaped(data: bytes) -> str:
    named = {9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\", 39: "\\'"}
    return "".join(named.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in data)


RWKV = metadata("rwkv", [escaped(text) for text in RWKV_TEXTS], [CONTROL] + [NORMAL] * (len(RWKV_TEXTS) - 1))


class TestRwkv:
    @given(st.one_of(st.text(), st.text(st.sampled_from("the abcd\n'é\\\x00"))))
    @settings(max_examples=300, deadline=None)
    def test_the_longest_token_at_each_byte(self, text: str) -> None:
        tokenizer, rest, want = load(RWKV), text.encode(), []
        while rest:
            token = max((token for token in RWKV_TEXTS if rest.startswith(token)), key=len)
            want.append(RWKV_TEXTS.index(token))
            rest = rest[len(token) :]
        assert tokenizer.encode(text) == want
        assert tokenizer.decode(want) == text

    def test_no_special_tokens_are_added(self) -> None:
        assert load(RWKV).encode("", add_special=True) == []

    def test_escapes(self) -> None:
        assert unescape("a\\x41\\n\\\\\\q\\'é") == "aA\n\\q'é".encode()

    @pytest.mark.parametrize("token", ["\\x4", "\\xg0", "a\\"])
    def test_bad_escapes(self, token: str) -> None:
        data = metadata("rwkv", ["a", token], [NORMAL, NORMAL])
        with pytest.raises(TokenizerError, match="holds"):
            load(data).encode("a")

    def test_a_byte_in_no_token(self) -> None:
        with pytest.raises(TokenizerError, match="unknown_token_id is missing, and b'b'"):
            load(metadata("rwkv", ["a", "bc"], [NORMAL, USER_DEFINED])).encode("ab")


HOSTILE = {"bert": BERT, "t5": T5, "rwkv": RWKV, "llama": sentencepiece(), "gpt2": byte_level()}


@pytest.mark.parametrize("model", HOSTILE)
class TestHostile:
    def test_a_huge_token(self, model: str) -> None:
        data = more_tokens(HOSTILE[model], "y" * 5_000_000)
        start = time.thread_time()
        assert load(data).encode("a dog y")
        assert time.thread_time() - start < 5

    def test_tokens_of_all_lengths(self, model: str) -> None:
        data = more_tokens(HOSTILE[model], *("y" * n for n in range(20, 4000)))
        start = time.thread_time()
        with contextlib.suppress(TokenizerError):
            load(data).encode("a" + "y" * 50_000)
        assert time.thread_time() - start < 10

    @pytest.mark.parametrize("kind", [0, 2, 3, 4, 5, 9])
    def test_all_tokens_of_one_type(self, model: str, kind: int) -> None:
        data = HOSTILE[model] | prefixed({"token_type": [kind] * len(HOSTILE[model]["tokenizer.ggml.tokens"])})
        with contextlib.suppress(TokenizerError):
            tokenizer = load(data)
            tokenizer.decode(tokenizer.encode("the dog 1 \x00", parse_special=True))

    @pytest.mark.parametrize("key", ["token_type", "scores", "tokens"])
    def test_a_short_array(self, model: str, key: str) -> None:
        data = HOSTILE[model] | prefixed({key: [] if key == "tokens" else [1]})
        if key == "scores" and model not in ("t5", "llama"):  # these kinds have none: what a file says is not read
            assert load(data).encode("the dog") == load(HOSTILE[model]).encode("the dog")
            return
        with pytest.raises(TokenizerError, match=r"entries for|empty"):
            load(data)

    def test_a_token_twice(self, model: str) -> None:
        with pytest.raises(TokenizerError, match="twice"):
            load(more_tokens(HOSTILE[model], "zz", "zz"))


def more_tokens(data: dict[str, Any], *tokens: str) -> dict[str, Any]:
    n = len(tokens)
    more: dict[str, list[Any]] = {"tokens": list(tokens), "token_type": [NORMAL] * n, "scores": [-5.0] * n}
    return data | prefixed(
        {k: data[f"tokenizer.ggml.{k}"] + v for k, v in more.items() if f"tokenizer.ggml.{k}" in data}
    )

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.errors import TokenizerError
from localllm.text.merge import merge_long
from localllm.text.sentencepiece_proto import processor
from localllm.text.spm import SentencePieceEncoder, _ByScore
from localllm.text.tokenizer import Tokenizer
from localllm.text.vocabulary import Vocabulary
from tests.text.build import SAMPLE, metadata, sentencepiece, tokenizer_of
from tests.text.reference import merge_by_score

TEXTS = st.one_of(
    st.text(), st.lists(st.sampled_from([*SAMPLE.split(), *"abe ▁界<>s/", "  ", "\n", "\x00"])).map("".join)
)


def build(**keys: Any) -> Tokenizer:
    return tokenizer_of(sentencepiece(**keys))


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_same_ids_as_the_slow_twin(text: str) -> None:
    if "<user>" not in text:
        assert PLAIN.encode(text) == merge_by_score(text, IDS, SCORES)


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_same_ids_as_sentencepiece(text: str) -> None:
    if "<user>" not in text:
        assert PLAIN.encode(text) == ORACLE.EncodeAsIds(text)


@given(st.text(st.sampled_from("abt he▁<"), max_size=300), st.sampled_from([0.0, 1.0]))
@settings(max_examples=100, deadline=None)
def test_words_of_any_length_by_every_way(text: str, factor: float) -> None:
    """Equal scores, too: then the leftmost pair goes first."""
    data = sentencepiece(add_space_prefix=False)
    data["tokenizer.ggml.scores"] = [factor * score for score in data["tokenizer.ggml.scores"]]
    scores = data["tokenizer.ggml.scores"]
    short = SentencePieceEncoder(Vocabulary(data))
    word = text.replace(" ", "▁")
    want = merge_by_score(text, IDS, scores)
    assert short.encode([text]) == [want]
    for parts in (short._merge_short(word), merge_long(word, _ByScore(IDS, scores))):
        assert [i for part in parts for i in ([IDS[part]] if part in IDS else short._fallback(part))] == want
    assert processor(Vocabulary(data), scores).EncodeAsIds(word) == want


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_round_trip(text: str) -> None:
    """Only U+2581, which stands for a space in this vocabulary, comes back as one."""
    assert PLAIN.decode(PLAIN.encode(text)) == text.replace("▁", " ")
    assert PREFIXED.decode(PREFIXED.encode(text, add_special=True)) == text.replace("▁", " ")


def test_space_prefix_before_the_text_and_after_special_tokens() -> None:
    assert PREFIXED.encode("dog") == PLAIN.encode(" dog")
    assert PREFIXED.encode("dog<s>dog", parse_special=True) == [*PLAIN.encode(" dog"), 1, *PLAIN.encode(" dog")]
    assert PREFIXED.encode("") == []
    assert PREFIXED.encode("<s>", parse_special=True) == [1]


def test_a_continuation_keeps_its_space() -> None:
    ids = PREFIXED.encode("dog")
    stream = PREFIXED.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == " dog"
    assert PREFIXED.decode(ids) == "dog"
    assert PREFIXED.decode([1, *ids]) == "dog"


def test_special_tokens_are_added_as_the_defaults_say() -> None:
    assert PLAIN.encode("a", add_special=True)[0] == 1
    assert build(add_bos_token=False).encode("a", add_special=True)[0] != 1
    assert build(add_eos_token=True).encode("a", add_special=True)[-1] == 2


def test_control_tokens_may_come_out_of_merges() -> None:
    """llama.cpp merges into any token; sentencepiece alone would never give a control token."""
    tokens, types = ["<unk>", "<s>", "<", "s", ">", "<s"], [2, 3, 1, 1, 1, 1]
    data = metadata("llama", tokens, types, scores=[0.0] * 6, bos_token_id=1, add_space_prefix=False)
    tokenizer = tokenizer_of(data)
    assert tokenizer.encode("<s>") == [1] == merge_by_score("<s>", {t: i for i, t in enumerate(tokens)}, [0.0] * 6)


def test_without_byte_tokens_the_unknown_token_stands_in() -> None:
    tokenizer = build(bytes_too=False, add_space_prefix=False)
    assert 0 in tokenizer.encode("界")
    data = sentencepiece(bytes_too=False)
    del data["tokenizer.ggml.unknown_token_id"]
    data["tokenizer.ggml.token_type"][0] = 1
    with pytest.raises(TokenizerError, match="unknown_token_id is missing"):
        tokenizer_of(data).encode("界")


def test_scores_may_be_missing() -> None:
    data = sentencepiece()
    del data["tokenizer.ggml.scores"]
    assert tokenizer_of(data).encode("dog")


def test_long_tokens_and_an_empty_one() -> None:
    """Lengths that need one, two and three bytes in the wire format."""
    data = sentencepiece(add_space_prefix=False)
    long = ["x" * 127, "y" * 128, "z" * 300, "w" * 2000, ""]
    data["tokenizer.ggml.tokens"] += long
    data["tokenizer.ggml.token_type"] += [1] * 5
    data["tokenizer.ggml.scores"] += [0.0] * 5
    tokenizer = tokenizer_of(data)
    assert tokenizer.decode(tokenizer.encode("z" * 300)) == "z" * 300
    assert tokenizer.token_text(tokenizer.n_vocab - 1) == f"[EMPTY_{tokenizer.n_vocab - 1}]"


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.0], "scores has 1 entries"),
        ([float("nan")], "not finite"),
        ([float("-inf")], "not finite"),
        (["1"], "holds str"),
    ],
)
def test_bad_scores(scores: list[object], message: str) -> None:
    data = sentencepiece()
    n = len(data["tokenizer.ggml.tokens"])
    data["tokenizer.ggml.scores"] = scores if len(scores) == 1 and scores == [0.0] else scores * n
    with pytest.raises(TokenizerError, match=message):
        tokenizer_of(data)


PLAIN, PREFIXED = build(add_space_prefix=False), build()
SCORES = Vocabulary(sentencepiece()).scores()
ORACLE = processor(Vocabulary(sentencepiece()), SCORES)
IDS = {token: i for i, token in enumerate(PLAIN.tokens)}

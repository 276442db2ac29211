"""The comparison of tokenizers: its texts, its peers, and the table, with texts short enough for a test."""

from __future__ import annotations

import pytest

from localllm.errors import UsageError
from localllm.tools import tokenizer_speed
from localllm.tools.tokenizer_speed import Row, compare, peer, table, texts
from tests.text.build import byte_level, sentencepiece


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(tokenizer_speed, "N_BYTES", 3000)


def test_texts_have_the_size_and_are_the_same_each_time():
    made = texts()
    assert made == texts()
    assert {name for name, text in made.items() if not 2990 < len(text.encode()) <= 3000} == set()


@pytest.mark.parametrize(("metadata", "name"), [(byte_level(), "tokenizers"), (sentencepiece(), "sentencepiece")])
def test_a_row_for_each_text(metadata, name):
    pytest.importorskip(name)
    found, rows = compare(metadata, 1)
    assert found == name
    assert [row.name for row in rows] == list(texts())
    assert all(row.ours > 0 and row.theirs > 0 for row in rows)
    if name == "tokenizers":  # sentencepiece alone does not cut out user-defined tokens
        assert all(row.same for row in rows)


def test_a_vocabulary_that_no_peer_knows():
    with pytest.raises(UsageError, match="'bert'"):
        peer({"tokenizer.ggml.model": "bert"})


def test_table():
    assert table("peer", [Row("code", 0.5, 1.0, True)]).splitlines()[2] == "| code | 0.500 | 1.000 | 2.00 | yes |"

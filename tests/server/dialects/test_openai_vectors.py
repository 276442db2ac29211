"""/v1/embeddings, /v1/rerank and /v1/models by the fake model."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from tests.generate.fake import FakeModel, FakeTokenizer


@pytest.fixture
def embed(ask, monkeypatch):
    """The embedding of a text is its length and its first id; the score of a pair, its length."""
    calls = []

    def rows(self, texts, pooling=None, normalize=True):
        calls.append((len(texts), pooling, normalize))
        if pooling == "rank":
            return np.array([[len(ids)] for ids in texts], np.float32)
        return np.array([[len(ids), ids[0], 3.0, 4.0] for ids in texts], np.float32)

    monkeypatch.setattr(FakeModel, "embed", rows, raising=False)
    monkeypatch.setattr(FakeTokenizer, "pair_frame", ([0], [0], [0]), raising=False)

    def post(path="/v1/embeddings", **body):
        got = ask(path, body)
        got.calls = calls
        return got

    return post


def test_embeddings(embed):
    got = embed(input="ab", model="fake")
    assert got.json == {
        "object": "list",
        "data": [{"index": 0, "embedding": [3.0, 0.0, 3.0, 4.0], "object": "embedding"}],
        "model": "fake",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


@pytest.mark.parametrize(
    ("given", "first"),
    [
        (["ab", "c"], [[3, 0], [2, 0]]),
        ([5, 6], [[2, 5]]),
        ([[5, 6], [7]], [[2, 5], [1, 7]]),
        (["ab", [7]], [[3, 0], [1, 7]]),
    ],
)
def test_several_inputs_go_together(embed, given, first):
    got = embed(input=given)
    assert [entry["embedding"][:2] for entry in got.json["data"]] == first
    assert [entry["index"] for entry in got.json["data"]] == list(range(len(first)))
    assert got.calls == [(len(first), None, True)]


def test_base64(embed):
    text = embed(input="ab", encoding_format="base64").json["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(text), "<f4").tolist() == [3.0, 0.0, 3.0, 4.0]


def test_fewer_dimensions_have_length_1_again(embed):
    got = embed(input=[[4, 3, 2]], dimensions=2).json["data"][0]["embedding"]
    assert got == pytest.approx([0.6, 0.8])
    assert embed(input="ab", dimensions=4).json["data"][0]["embedding"] == [3.0, 0.0, 3.0, 4.0]
    assert embed(input="ab", dimensions=5).error["param"] == "dimensions"
    assert embed(input="ab", dimensions=0).status == 400


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("", "input"),
        ([], "input"),
        (3, "input"),
        ([[]], "input[0]"),
        ([1, "a"], "input"),
        (["a", 1], "input[1]"),
        ([[1], [64]], "input[1]"),
        ([1] * 65, "input"),
        (["a", "a" * 64], "input[1]"),
        (["a"] * 2049, "input"),
    ],
)
def test_inputs_that_cannot_be(embed, given, param):
    got = embed(input=given)
    assert (got.status, got.error["param"]) == (400, param)


def test_a_text_that_is_too_long(embed):
    error = embed(input="a" * 64).error
    assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == ("exceed_context_size_error", 65, 64)


def test_rerank(embed):
    body = {"query": "q", "documents": ["a", "abc", {"text": "ab"}], "model": "fake"}
    got = embed("/v1/rerank", **body)
    assert got.json["results"] == [
        {"index": 1, "relevance_score": 7.0},
        {"index": 2, "relevance_score": 6.0},
        {"index": 0, "relevance_score": 5.0},
    ]
    assert got.json["usage"] == {"prompt_tokens": 18, "total_tokens": 18}
    assert got.calls[-1][1] == "rank"
    for path in ("/rerank", "/reranking", "/v1/reranking", "/v2/rerank"):
        best = embed(path, **body, top_n=1, return_documents=True).json["results"]
        assert best == [{"index": 1, "relevance_score": 7.0, "document": {"text": "abc"}}]
    assert len(embed("/rerank", **body, top_n=9).json["results"]) == 3


def test_rerank_of_texts(embed):
    got = embed("/rerank", query="q", texts=["a", "ab"], return_text=True)
    assert got.json == [{"index": 1, "score": 6.0, "text": "ab"}, {"index": 0, "score": 5.0, "text": "a"}]


@pytest.mark.parametrize("documents", [[], None, 123, [1, 2], ["a" * 64]])
def test_documents_that_cannot_be(embed, documents):
    assert embed("/v1/rerank", query="q", documents=documents).status == 400
    assert embed("/v1/rerank", query="q", documents=["a"], texts=["a"]).status == 400


def test_models(ask):
    for path in ("/v1/models", "/models"):
        got = ask(path, None, method="GET").json
        assert got["object"] == "list"
        assert [(m["id"], m["object"], m["owned_by"]) for m in got["data"]] == [("fake", "model", "localllm")]
        assert got["data"][0]["status"] == {"value": "unloaded"}
        assert "meta" not in got["data"][0]
    ask("/v1/completions", {"prompt": "a"})
    got = ask("/v1/models/fake", None, method="GET").json
    assert got["status"] == {"value": "loaded"}
    assert got["meta"] == {
        "n_vocab": 64, "n_ctx_train": 64, "n_embd": 8, "n_params": 1_234_567, "size": 4_938_268, "n_ctx": 64,
    }  # fmt: skip
    got = ask("/v1/models/org/none", None, method="GET")
    assert (got.status, got.error["code"]) == (404, "model_not_found")

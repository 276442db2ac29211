"""Texts that are far too long are refused by their bytes: they are not tokenized first."""

from __future__ import annotations

import pytest

LONG = "a" * 400  # 100 tokens at the least, as the fake tokenizer counts


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": LONG}),
        ("/v1/completions", {"prompt": "a", "suffix": LONG}),
        ("/completion", {"prompt": LONG}),
        ("/completion", {"prompt": [1, LONG[:200], LONG[200:]]}),
        ("/api/generate", {"model": "fake", "prompt": LONG, "raw": True}),
        ("/api/generate", {"model": "fake", "prompt": "a", "suffix": LONG}),
    ],
)
def test_prompts(serve, monkeypatch, path, body):
    server = serve()
    monkeypatch.setattr(server.model.tokenizer, "encode", lambda *_, **__: pytest.fail("it was tokenized"))
    got = server.client.post(path, json=body)
    assert got.status_code == 400
    assert "at least 100 tokens, the context holds 64" in got.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": ["a", LONG]}),
        ("/api/embed", {"model": "fake", "input": LONG}),
        ("/v1/rerank", {"query": LONG, "documents": ["a"]}),
    ],
)
def test_texts_to_embed(serve, path, body):
    got = serve().client.post(path, json=body)
    assert got.status_code == 400
    assert "at least 100 tokens, 64 are the most" in got.text

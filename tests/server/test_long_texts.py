"""Texts that are far too long are refused by their bytes: they are not tokenized first."""

from __future__ import annotations

import asyncio
import importlib
import re

import pytest

LONG = "a" * 400  # 100 tokens at the least, as the fake tokenizer counts; a template adds some


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": LONG}),
        ("/v1/completions", {"prompt": "a", "suffix": LONG}),
        ("/completion", {"prompt": LONG}),
        ("/completion", {"prompt": [1, LONG[:200], LONG[200:]]}),
        ("/api/generate", {"model": "fake", "prompt": LONG, "raw": True}),
        ("/api/generate", {"model": "fake", "prompt": "a", "suffix": LONG}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LONG}]}),
        ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": LONG}]}),
        ("/v1/responses", {"input": LONG}),
        ("/api/chat", {"model": "fake", "messages": [{"role": "user", "content": LONG}]}),
    ],
)
def test_prompts(serve, monkeypatch, path, body):
    server = serve()
    monkeypatch.setattr(server.model.tokenizer, "encode", lambda *_, **__: pytest.fail("it was tokenized"))
    got = server.client.post(path, json=body)
    assert got.status_code == 400
    assert re.search(r"at least 1\d\d tokens, the context holds 64", got.text)


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


@pytest.mark.parametrize(
    ("path", "body", "work"),
    [
        (
            "/tokenize",
            {"content": "a" * 5_000, "with_pieces": True},
            "localllm.server.dialects.llamacpp_tokens._pieces",
        ),
        ("/detokenize", {"tokens": [1] * 5_000}, "localllm.server.dialects.llamacpp_tokens._text"),
        ("/tokenize", {"content": "a" * 300_000}, "localllm.server.call._decoded"),
    ],
)
def test_long_work_is_done_beside_the_loop(serve, monkeypatch, path, body, work):
    """Or other clients would wait for it."""
    seen = []
    room, _, name = work.rpartition(".")
    done = getattr(importlib.import_module(room), name)

    def watched(*given):
        seen.append(has_loop())
        return done(*given)

    monkeypatch.setattr(work, watched)
    assert serve().client.post(path, json=body).status_code == 200
    assert seen == [False]


def has_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

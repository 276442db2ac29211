"""OpenAI's dialect over real models and the real engine: what clients get is what the library gives."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import localllm
from localllm.engine.options import EngineOptions
from localllm.server.app import create_app
from localllm.server.library import Library
from localllm.server.loading import ModelSettings, load
from localllm.server.models import Models
from tests.recorded import models as recorded

SMOLLM2 = Path.home() / ".cache/localllm-test-models/smollm2-135m-instruct-q4_1.gguf"


@contextmanager
def serving(path, n_ctx=128):
    settings = ModelSettings(EngineOptions(n_ctx=n_ctx, n_seq=2))
    app = create_app(Models(Library({"m": str(path)}), lambda path: load(path, settings)))
    with TestClient(app, "http://127.0.0.1:8080") as client:
        yield lambda path, **body: client.post(path, json=body).json()


def test_embeddings_and_scores_are_the_librarys(tmp_path):
    embedder = recorded.write(tmp_path / "embed.gguf", recorded.cases()["bert"], pooling_type=1)
    texts = [[3, 4, 5], [7], [9, 8]]
    with serving(embedder, n_ctx=64) as post:
        got = post("/v1/embeddings", input=texts)
        refused = post("/v1/completions", prompt=[1])
    with localllm.load(embedder) as model:
        assert [entry["embedding"] for entry in got["data"]] == model.embed(texts).tolist()
    assert got["usage"]["prompt_tokens"] == 6
    assert refused["error"]["type"] == "not_supported_error"


needs_smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason="needs the models of ~/.cache/localllm-test-models")


@needs_smollm2
@pytest.mark.real
@pytest.mark.slow
def test_logprobs_of_a_prompt_are_those_of_its_logits():
    text = "The capital of France is"
    with serving(SMOLLM2) as post:
        got = post("/v1/completions", prompt=[text, "The capital"], max_tokens=1, echo=True, logprobs=1, temperature=0)
    with localllm.load(SMOLLM2, n_ctx=128) as model:
        assert model.tokenizer
        ids = model.tokenizer.encode(text, add_special=True)
        logits = model.logits(ids).astype(np.float64)
        best = model.tokenizer.decode([int(logits[-1].argmax())])
    shifted = logits - logits.max(axis=1, keepdims=True)
    chances = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    expected = [chances[i, token] for i, token in enumerate(ids[1:])]
    told = got["choices"][0]["logprobs"]
    assert told["token_logprobs"][0] is None
    assert told["token_logprobs"][1:-1] == pytest.approx(expected, abs=1e-5)
    assert got["choices"][0]["text"] == text + best
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert got["choices"][0]["text"][offset:].startswith(token)
    assert got["choices"][1]["logprobs"]["token_logprobs"][1:-1] == told["token_logprobs"][1:2]


@needs_smollm2
@pytest.mark.real
@pytest.mark.slow
def test_answers_are_the_librarys():
    messages = [{"role": "user", "content": "Name three colours."}]
    with localllm.load(SMOLLM2, n_ctx=128) as model:
        expected = "".join(model.chat(messages, max_tokens=24, temperature=0.0))
        sampled = "".join(model.chat(messages, max_tokens=24, seed=7))
    with serving(SMOLLM2) as post:
        path = "/v1/chat/completions"
        got = post(path, messages=messages, max_tokens=24, temperature=0)
        assert got["choices"][0]["message"]["content"] == expected
        got = post(path, messages=messages, max_tokens=24, seed=7, n=2)
        assert got["choices"][0]["message"]["content"] == sampled
        assert got["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["red", "blue"]}}}
        got = post(path, messages=messages, max_tokens=24, response_format=form)
        assert got["choices"][0]["message"]["content"] in ('"red"', '"blue"')
        got = post("/v1/responses", input="Name three colours.", max_output_tokens=24, temperature=0)
        assert got["output"][0]["content"][0]["text"] == expected

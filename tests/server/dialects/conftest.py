from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tests.server.dialects.marked import prepare_marked


@pytest.fixture
def marked(monkeypatch):
    """Answers are read as tests.server.dialects.marked writes; a list of the conversations that were asked."""
    asked = []

    def prepare(model, conversation, check=None):
        asked.append(conversation)
        return prepare_marked(model, conversation)

    monkeypatch.setattr("localllm.server.chat.prepare", prepare)
    return asked


@pytest.fixture
def ask(serve):
    """ask(path, body, script=...) -> status, JSON, chunks of a stream, and the requests that the engine got."""
    servers = {}

    def post(path, body, script="hello", method="POST", **options):
        key = (script, *sorted(options.items()))
        if key not in servers:
            servers[key] = serve(script, **options)
        server = servers[key]
        got = server.client.request(method, path, json=body)
        result = SimpleNamespace(status=got.status_code, text=got.text, server=server, requests=server.engine.requests)
        if got.headers["content-type"].startswith("text/event-stream"):
            result.frames = [frame for frame in got.text.split("\n\n") if frame]
            data = [line[6:] for frame in result.frames for line in frame.split("\n") if line.startswith("data: ")]
            result.ended = data[-1] == "[DONE]"
            result.chunks = [json.loads(line) for line in data if line != "[DONE]"]
        else:
            result.json = got.json()
            result.error = result.json.get("error") if isinstance(result.json, dict) else None
        return result

    return post


@pytest.fixture
def chat(ask):
    """chat(script, messages, **fields of the body) -> what `ask` gives, of OpenAI's chat."""
    hi = [{"role": "user", "content": "hi"}]
    return lambda script="hello", messages=hi, **body: ask(
        "/v1/chat/completions", {"messages": messages, **body}, script
    )

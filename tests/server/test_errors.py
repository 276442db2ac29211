"""Every error, wherever it comes from, has the shape of the dialect whose path was asked."""

from __future__ import annotations

import pytest

HI = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "stream": True}
PATHS = {
    "/v1/chat/completions": HI,
    "/v1/messages": HI,
    "/api/chat": HI,
    "/completion": {"prompt": "hi", "stream": True},
}


def _anthropic(got):
    assert list(got) == ["error", "type"]
    assert got["type"] == "error"
    assert list(got["error"]) == ["type", "message"]
    return got["error"]["message"]


def _openai(got):
    assert list(got) == ["error"]
    assert list(got["error"]) == ["message", "type", "param", "code"]
    return got["error"]["message"]


def _llamacpp(got):
    assert list(got) == ["error"]
    assert {"code", "message", "type"} <= set(got["error"])
    return got["error"]["message"]


def _ollama(got):
    assert list(got) == ["error"]
    return got["error"]


MESSAGE = {
    "/v1/chat/completions": _openai,
    "/v1/messages": _anthropic,
    "/api/chat": _ollama,
    "/completion": _llamacpp,
}


@pytest.fixture(params=PATHS)
def path(request):
    return request.param


def check(got, path, status):
    assert got.status_code == status, got.text
    message = MESSAGE[path](got.json())
    assert message
    assert "\n" not in message
    return message


def test_without_a_key(serve, path):
    client = serve(keys=("secret",)).client
    assert "API key" in check(client.post(path, json=PATHS[path]), path, 401)
    assert client.post(path, json=PATHS[path], headers={"x-api-key": "secret"}).status_code == 200


def test_by_a_name_that_is_not_the_servers(serve, path):
    client = serve().client
    check(client.post(path, json=PATHS[path], headers={"host": "evil.example"}), path, 403)
    check(client.post(path, json=PATHS[path], headers={"origin": "https://evil.example"}), path, 403)


def test_bodies(serve, path):
    client = serve(max_body=1000).client
    check(client.post(path, content=b" " * 1001), path, 413)
    check(client.post(path, content=b"{"), path, 400)


def test_methods_and_paths(serve, path):
    client = serve().client
    check(client.get(path), path, 405)
    if path != "/completion":  # what begins with no prefix is told in llama.cpp's shape
        check(client.post(f"{path}/nothing", json={}), path, 404)


def test_a_full_queue(serve, path):
    server = serve()
    server.engine.full = True
    got = server.client.post(path, json=PATHS[path])
    check(got, path, 429)
    assert got.headers["retry-after"] == "1"


def test_a_server_that_ends(serve, path):
    server = serve()
    server.models.draining()
    got = server.client.post(path, json=PATHS[path])
    check(got, path, 503)
    assert int(got.headers["retry-after"]) > 0


def test_a_bug(serve, path):
    server = serve()

    def broken(*_):
        raise RuntimeError("a secret")

    server.engine.submit = broken
    assert "secret" not in check(server.client.post(path, json=PATHS[path]), path, 500)

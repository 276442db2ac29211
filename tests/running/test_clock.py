"""The system's clock is set by hours while a server runs: nothing ends too early, or stays for too long."""

from __future__ import annotations

import os
import time

import pytest
from starlette.testclient import TestClient

from localllm.engine.options import EngineOptions
from localllm.server.app import create_app
from localllm.server.library import Library
from localllm.server.loading import ModelSettings, load
from localllm.server.models import Models
from localllm.server.options import ServerOptions
from tests.server import tiny

HOURS = (5 * 3600, -5 * 3600, 400 * 86400, -400 * 86400)


class Clock:
    """What time.time says, with so many seconds more."""

    def __init__(self, monkeypatch):
        self.shift, inner = 0.0, time.time
        monkeypatch.setattr(time, "time", lambda: inner() + self.shift)
        inner_ns = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: inner_ns() + int(self.shift * 1e9))


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def models(tmp_path):
    settings = ModelSettings(EngineOptions(n_ctx=128, cache_folder=tmp_path / "prompts"), n_threads=1)
    path = tiny.write(tmp_path / "m.gguf")
    return Models(Library({"m": str(path)}), lambda path: load(path, settings), pooling="mean")


@pytest.fixture
def client(models):
    app = create_app(models, ServerOptions(timeout=600.0))
    with TestClient(app, "http://127.0.0.1:8080", raise_server_exceptions=False) as client:
        yield client


ASKED = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20, "temperature": 0, "model": "m"}


def said(client, **more):
    answer = client.post("/v1/chat/completions", json=ASKED | more)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


@pytest.mark.slow
def test_requests_between_and_in_the_midst(client, models, clock):
    first = said(client)
    for shift in HOURS:
        clock.shift = shift
        assert said(client) == first
        inner = models.loaded()[0].served.engine._context
        forward = inner.forward

        def set_and_run(*args, forward=forward, shift=shift, **given):
            clock.shift -= shift / 7  # at each pass
            return forward(*args, **given)

        inner.forward = set_and_run
        assert said(client, timeout=5) == first
        del inner.forward
        for path in ("/health", "/api/ps", "/api/tags", "/v1/models", "/slots"):
            assert client.get(path).status_code == 200
        assert client.post("/v1/embeddings", json={"input": "hi", "model": "m"}).status_code == 200
    assert [loaded.served.name for loaded in models.loaded()] == ["m"]


def loaded(client):
    return [row["name"] for row in client.get("/api/ps").json()["models"]]


@pytest.mark.slow
@pytest.mark.parametrize("shift", HOURS[:2])
def test_models_go_after_their_time(client, clock, shift):
    """By Ollama's keep_alive: five minutes are not over when the clock says so, and half a second is not five hours."""
    asked = {"model": "m", "prompt": "hi", "stream": False, "options": {"num_predict": 1}}
    assert client.post("/api/generate", json=asked | {"keep_alive": "5m"}).status_code == 200
    clock.shift = shift
    time.sleep(1.2)  # it is looked once a second
    assert loaded(client) == ["m"]
    assert client.post("/api/generate", json=asked | {"keep_alive": "500ms"}).status_code == 200
    clock.shift = -shift
    end = time.monotonic() + 20
    while loaded(client):
        assert time.monotonic() < end, "it stays"
        time.sleep(0.05)


@pytest.mark.parametrize("seconds", [-(10**9), 10**15])
def test_a_file_of_another_millennium(client, models, seconds, monkeypatch):
    """Not each disk holds such times."""
    path = models.library.files()["m"]
    stat = os.stat

    def old(name, *args, **given):
        found = stat(name, *args, **given)
        if str(name) != path:
            return found
        return os.stat_result((*found[:8], seconds, found[9]), {"st_mtime": float(seconds), "st_mtime_ns": seconds})

    monkeypatch.setattr(os, "stat", old)
    for name in ("/v1/models", "/api/tags"):
        assert client.get(name).status_code == 200
    assert client.post("/api/show", json={"model": "m"}).status_code == 200
    assert client.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).status_code == 200

"""Clients that hang up in the middle: what they asked for is cancelled."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from localllm.server.app import create_app
from localllm.server.library import Library
from localllm.server.models import Models
from tests.generate.fake import FakeModel
from tests.server.fake_engine import FakeEngine

HI = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI, "n": 2},
    "/v1/completions": {"prompt": ["a", "b", "c"]},
    "/v1/responses": {"input": "hi"},
}


async def hang_up(app, engine, path, body):
    """Ask, and hang up while the engine is held at its gate; wait until it has ended all."""
    gone, asked = asyncio.Event(), asyncio.Event()

    async def receive():
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers":
        [(b"host", b"127.0.0.1:8080"), (b"content-type", b"application/json")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080), "scheme": "http", "root_path": "", "http_version": "1.1", "asgi": {},
    }  # fmt: skip
    running = asyncio.ensure_future(app(scope, receive, send))
    while not engine.handles:
        await asyncio.sleep(0.001)
    gone.set()
    await asyncio.wait_for(running, 10)
    for handle in engine.handles:
        assert await asyncio.to_thread(handle.ended.wait, 10)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_what_nobody_waits_for_is_cancelled(path, stream):
    model = FakeModel("hello")
    engine = FakeEngine(model)
    engine.gate.clear()
    models = Models(Library({"fake": "fake.gguf"}), lambda path: (model, engine))
    asyncio.run(hang_up(create_app(models), engine, path, BODIES[path] | {"stream": stream}))
    assert engine.handles
    assert all(handle.cancelled.is_set() for handle in engine.handles)

"""A server whose answers are written down: the application itself, with a dialect that says what a test wants."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import msgspec
import uvicorn

from localllm.server.app import create_app
from localllm.server.endpoint import ApiError, Dialect, Endpoint
from localllm.server.library import Library
from localllm.server.models import Models
from localllm.server.options import ServerOptions
from localllm.server.streams import sse

HELD = object()
"""A step at which the answer waits for `release`."""


class Body(msgspec.Struct):
    messages: list[dict[str, Any]]
    model: str | None = None
    seed: Any = None
    temperature: Any = None
    top_k: Any = None
    max_tokens: Any = None
    stop: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    response_format: Any = None
    chat_template_kwargs: Any = None
    tools: Any = None
    continue_final_message: Any = None


class Scripted:
    """`script`: the last message that is sent -> steps of the answer. A step: a text; a dict, which is a delta; a
    tuple of a delta and further fields of its choice; ("chunk", fields); an ApiError; HELD. Other messages are echoed.

    `requests`: bodies that came; `cancelled`: answers that the client gave up.
    """

    def __init__(self, script: dict[str, list[Any]], n_ctx: int = 4096, **options: Any) -> None:
        self.script, self.n_ctx = script, n_ctx
        self.requests: list[Body] = []
        self.cancelled = 0
        self.template = "{% if enable_thinking %}"
        self._released = asyncio.Event()
        self._held = threading.Semaphore(0)
        endpoints = (
            Endpoint("GET", "/v1/models", self._models),
            Endpoint("POST", "/v1/chat/completions", self._chat, Body),
            Endpoint("GET", "/props", self._props),
        )
        dialect = Dialect("scripted", endpoints, _error_body)
        models = Models(Library({"tiny": "/nowhere/tiny.gguf"}), _never)
        app = create_app(models, ServerOptions(**options), [dialect])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def wait_held(self) -> None:
        """Until an answer has come to the next HELD, or to its end."""
        assert self._held.acquire(timeout=10)

    def release(self) -> None:
        """Let answers go on that are HELD."""
        self._loop.call_soon_threadsafe(self._released.set)

    def close(self) -> None:
        if self._thread.is_alive():
            self.release()
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(10)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._server.serve([self._socket])

        asyncio.run(serve())

    async def _models(self, call: Any) -> dict[str, Any]:
        return {"data": [{"id": name, "meta": {"n_ctx": self.n_ctx}} for name in ("tiny", "other")]}

    async def _props(self, call: Any) -> dict[str, Any]:
        settings = {"n_ctx": self.n_ctx, "params": {"temperature": 0.7, "top_k": 20}}
        return {"default_generation_settings": settings, "chat_template": self.template}

    async def _chat(self, call: Any) -> Any:
        self.requests.append(call.body)
        last = call.body.messages[-1]["content"]
        steps = self.script.get(last, [f"You said: {last}"])
        if isinstance(steps[0], ApiError) and steps[0].status:
            raise steps[0]
        return await sse(call, self._chunks(steps, call.body))

    async def _chunks(self, steps: list[Any], body: Body) -> Any:
        try:
            yield {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
            finish = "stop"
            for step in steps:
                if step is HELD:
                    self._held.release()
                    await self._released.wait()
                    self._released.clear()
                elif isinstance(step, ApiError):
                    raise step
                elif isinstance(step, tuple) and step[0] == "finish":
                    finish = step[1]
                else:
                    yield _chunk(step)
            yield {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
            usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234}
            yield {"choices": [], "usage": usage, "timings": TIMINGS}
            yield "[DONE]"
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self._held.release()


TIMINGS = {
    "cache_n": 1000, "prompt_n": 200, "prompt_ms": 500.0, "prompt_per_second": 400.0,
    "predicted_n": 34, "predicted_ms": 2000.0, "predicted_per_second": 17.0,
}  # fmt: skip


def _chunk(step: Any) -> dict[str, Any]:
    if isinstance(step, tuple) and step[0] == "chunk":
        return {"choices": [{"index": 0, "delta": {}}], **step[1]}
    delta, more = step if isinstance(step, tuple) else (step, {})
    return {"choices": [{"index": 0, "delta": {"content": delta} if isinstance(delta, str) else delta, **more}]}


def _error_body(error: ApiError) -> dict[str, Any]:
    return {"error": {"message": error.message, "type": error.kind, "code": error.code, **error.details}}


def _never(path: str) -> Any:
    raise AssertionError("no model is loaded here")


def logprob(token: str, probability: float, others: dict[str, float]) -> tuple[Any, ...]:
    """A step: a token, with how likely it and others were."""
    import math

    top = [{"token": text, "logprob": math.log(value)} for text, value in {token: probability, **others}.items()]
    told = {"token": token, "logprob": math.log(probability), "top_logprobs": top}
    return ({"content": token}, {"logprobs": {"content": [told]}})

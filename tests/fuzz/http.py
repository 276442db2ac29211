"""Requests to every endpoint of every dialect, in process: METHOD PATH, headers, an empty line, and the body.

No answer is a 500, none takes long, and each error has the shape of its dialect. The engine says "hello".
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from typing import Any, NoReturn
from urllib.parse import unquote

import numpy as np

from localllm.server.app import create_app
from localllm.server.dialects import DIALECTS
from localllm.server.library import Library
from localllm.server.models import Models
from localllm.server.options import ServerOptions
from localllm.store import web
from localllm.text.template import ChatTemplate
from tests.fuzz.http_bodies import BODIES
from tests.fuzz.mutators import NUMBERS, dumped, json_changed, of_bytes, text_once
from tests.fuzz.target import Finding, Target, written
from tests.generate.fake import FakeModel
from tests.gguf import build as b
from tests.server.fake_engine import FakeEngine
from tests.text.build import byte_level, tokenizer_of

_PATIENCE = 10
"""Seconds until an answer that does not end is a finding; the engine needs milliseconds."""
_ALLOWED = (501, 503)
"""Of the statuses from 500 on: not supported, and not now."""
_HEADERS = (
    "content-type: application/json", "content-type: text/plain; charset=utf-16", "content-length: -1",
    "content-length: ９", "content-length: 99999999999", "content-encoding: gzip", "transfer-encoding: chunked",
    "accept: text/event-stream", "authorization: Bearer x", "authorization: \xff", "x-api-key: x", "x-request-id: a b",
    "expect: 100-continue", "origin: http://evil.example", "origin: null", "host: evil.example", "host: 127.0.0.1:1",
    "host: [::1", "host: a@b", "access-control-request-method: POST", "anthropic-version: x", "cookie: a=b",
    "range: bytes=0-", "if-none-match: *",
)  # fmt: skip
_WORDS: tuple[Any, ...] = (
    *sorted({key for body in BODIES.values() for key in body}), "fake", "json_schema", "regex", "grammar",
    "json_object", "function", "required", "none", "any", "input_image", "image_url", "data:image/png;base64,AA==",
    "user", "system", "tool", "developer", {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
    {"type": "grammar", "grammar": "root ::= root"}, {"-1": 1}, [[5, False]], [["a", 1]], "Infinity", "0", "10h",
    "1e400", "\ud800",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    paths = [(e.method, e.path) for dialect in DIALECTS for e in dialect.endpoints]
    for method, path in paths:
        path = path.replace("{model:path}", "fake").replace("{response_id}", "resp_1").replace("{digest}", "sha256:0")
        known = max((p for p in BODIES if path.endswith(p)), key=len, default="")
        yield request(method, path, BODIES.get(known) if method == "POST" else None)
        if known and "stream" in BODIES[known]:
            yield request(
                method, path, BODIES[known] | {"stream": not BODIES[known]["stream"], "tools": None, "grammar": None}
            )
    yield request("OPTIONS", "/v1/models", None, "origin: http://localhost", "access-control-request-method: GET")
    yield request("GET", "/", None) + b"x"


def request(method: str, path: str, body: Any, *headers: str) -> bytes:
    lines = [f"{method} {path}", "host: localhost", *headers]
    return "\n".join(lines).encode("latin-1") + b"\n\n" + (b"" if body is None else dumped(body))


def mutate(data: bytes, rng: random.Random) -> bytes:
    head, _, body = data.partition(b"\n\n")
    match rng.randrange(12):
        case 0:
            return of_bytes(data, rng)
        case 1:
            lines = head.split(b"\n")
            lines.insert(rng.randint(1, len(lines)), rng.choice(_HEADERS).encode("utf-8"))
            return b"\n".join(lines) + b"\n\n" + body
        case 2:
            return (
                text_once(head.decode("latin-1"), ["/", "?a=b", "%00", "%ff", "..", "//", "fake"], rng).encode()
                + b"\n\n"
                + body
            )
        case 3:
            return head + b"\n\n" + of_bytes(body, rng)
        case 4:
            number = rng.choice([str(rng.choice(NUMBERS)), "NaN", "-Infinity", "1e999", "-0.0", "1" * 500, "1E5", "01"])
            return (
                head
                + b"\n\n"
                + body.replace(rng.choice((b"3", b"2", b"1", b"0.5", b"true", b'"hi"')), number.encode(), 1)
            )
        case _:
            return head + b"\n\n" + json_changed(body, _WORDS, rng)


def run(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    headers = [
        (name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines) if name
    ]
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method.decode("latin-1").upper(),
        "scheme": "http", "path": "/" + unquote(path.decode("latin-1")).lstrip("/"), "raw_path": path,
        "query_string": query, "root_path": "", "headers": headers, "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }  # fmt: skip
    status, answer_headers, answer = _loop().run_until_complete(_answered(scope, body))
    shown = f"{scope['method']} {scope['path']}: {status}: {answer[:300]!r}"
    if (status >= 500 and status not in _ALLOWED) or b"an error within the server" in answer or b"Traceback" in answer:
        raise Finding(shown)
    kind = answer_headers.get(b"content-type", b"")
    if status >= 400 and scope["method"] != "HEAD":
        _check_error(scope["path"], kind, answer, shown)
    if kind.startswith(b"text/event-stream"):
        for line in answer.decode().split("\n"):
            if line.startswith("data: ") and line != "data: [DONE]":
                json.loads(line[6:])


def _check_error(path: str, kind: bytes, answer: bytes, shown: str) -> None:
    if not kind.startswith(b"application/json"):
        raise Finding(f"an error of type {kind!r}: {shown}")
    told = json.loads(answer)
    error = told.get("error") if isinstance(told, dict) else None
    if not path.startswith("/api/"):
        error = error.get("message") if isinstance(error, dict) else None
    if not isinstance(error, str) or not error or "\n" in error:
        raise Finding(f"not the dialect's error: {shown}")


async def _answered(scope: dict[str, Any], body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body[:100], "more_body": True},
        {"type": "http.request", "body": body[100:]},
    ]
    over = asyncio.Event()
    status, headers, pieces = 0, dict[bytes, bytes](), list[bytes]()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], dict(message["headers"])
        else:
            pieces.append(message.get("body", b""))

    try:
        await asyncio.wait_for(_app()(scope, receive, send), _PATIENCE)
    except TimeoutError:
        raise Finding(f"no answer within {_PATIENCE} s: {scope['path']} {body[:300]!r}") from None
    over.set()
    return status, headers, b"".join(pieces)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _app() -> Any:
    """What it logs is not shown; it has no network, and no models but one."""
    logging.getLogger("localllm").setLevel(logging.CRITICAL)
    os.environ |= {
        "LOCALLLM_HOME": tempfile.mkdtemp(prefix="localllm-fuzz-"),
        "LOCALLLM_ORIGINS": "localllm",
        "HF_HUB_OFFLINE": "1",
    }
    web.request = _no_network
    model = _Embedding("hello")
    model.tokenizer = tokenizer_of(byte_level())  # type: ignore[assignment]
    source = "{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}"
    model.template = model.tool_template = ChatTemplate(source)  # type: ignore[assignment]
    engine = FakeEngine(model, n_ctx=512)
    path = str(written(b.gguf([b.kv("general.architecture", b.STR, "llama")]), "fake.gguf"))
    models = Models(Library({"fake": path}), lambda path: (model, engine))
    return create_app(models, ServerOptions(max_body=1 << 17))


class _Embedding(FakeModel):
    """Embeds a text as its length, and scores a pair so."""

    def embed(self, texts: list[list[int]], pooling: str | None = None, normalize: bool = True) -> np.ndarray:
        rows = [[len(ids)] if pooling == "rank" else [len(ids), 1.0, 3.0, 4.0] for ids in texts]
        return np.array(rows, np.float32)


def _no_network(*_: object, **__: object) -> NoReturn:
    raise ConnectionError("there is no network here")


TARGET = Target(seeds, run, mutate, max_len=1 << 16)

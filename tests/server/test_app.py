"""The room between Starlette and the dialects, by a dialect of one endpoint that says what the engine says."""

from __future__ import annotations

import json
import logging

import msgspec
import pytest

from localllm.engine.request import Request, Said
from localllm.errors import LocalllmError
from localllm.server.answers import events
from localllm.server.dialects import llamacpp
from localllm.server.endpoint import Dialect, Endpoint, Named
from localllm.server.streams import ndjson, sse


class Body(msgspec.Struct):
    prompt: list[int] = msgspec.field(default_factory=lambda: [1, 2])
    stream: str = ""
    n: int = 1
    nested: object = None


async def say(call):
    if call.body.stream:
        return await {"sse": sse, "ndjson": ndjson}[call.body.stream](call, pieces(call))
    return {"text": "".join([item["text"] async for item in pieces(call)])}


async def pieces(call):
    async with call.model() as served:
        with events(served, Request(call.body.prompt, n=call.body.n), call) as answer:
            async for event in answer:
                if isinstance(event, Said):
                    yield {"text": event.piece.text}


async def broken(call):
    raise RuntimeError("a secret")


async def named(call):
    async def items():
        yield Named("begin", {"a": 1})
        yield "[DONE]"

    return await sse(call, items())


TOY = Dialect(
    "toy",
    (
        Endpoint("POST", "/toy/say", say, Body),
        Endpoint("GET", "/toy/broken", broken),
        Endpoint("GET", "/toy/named", named),
    ),
    lambda error: {"toy": error.message, "param": error.param},
    prefixes=("/toy/",),
)
DIALECTS = (llamacpp.DIALECT, TOY)


@pytest.fixture
def toy(serve):
    return lambda **options: serve(dialects=DIALECTS, **options)


def test_an_answer_and_its_streams(toy):
    client = toy().client
    assert client.post("/toy/say", json={}).json() == {"text": "hello"}
    lines = client.post("/toy/say", json={"stream": "ndjson"}).text.splitlines()
    assert "".join(json.loads(line)["text"] for line in lines) == "hello"
    events = client.post("/toy/say", json={"stream": "sse"}).text.split("\n\n")
    assert events[0] == 'data: {"text":"h"}'
    assert events[-1] == ""
    assert client.get("/toy/named").text == 'event: begin\ndata: {"a":1}\n\ndata: [DONE]\n\n'


def test_several_answers_end_together(toy):
    assert toy().client.post("/toy/say", json={"n": 3}).json() == {"text": "hello" * 3}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "not JSON"),
        (b'{"prompt": [NaN]}', "not JSON"),
        (b'{"stream": "\xff"}', "not UTF-8"),
        (b'{"\xff": 1}', "not UTF-8"),
        (b"[]", "body: expected `object`"),
        (b'{"prompt": "a"}', "prompt: expected `array`"),
        (b'{"prompt": [1, -1.5]}', "prompt[1]: expected `int`"),
        (b'{"nested": ' + b"[" * 70 + b"]" * 70 + b"}", "more than 64 levels"),
        (b"[" * 1_000_000, "more than 64 levels"),
    ],
)
def test_bad_bodies_are_told_in_the_dialects_shape(toy, body, told):
    got = toy().client.post("/toy/say", content=body)
    assert got.status_code == 400
    assert told in got.json()["toy"]


def test_brackets_within_texts_are_no_levels(toy):
    nested = ['["[' * 100, '\\"[[{{' * 100, "]" * 100]
    assert toy().client.post("/toy/say", json={"nested": nested}).status_code == 200


def test_a_long_body_is_refused_before_it_is_read(toy):
    client = toy(max_body=1000).client
    got = client.post("/toy/say", content=b" " * 1001)
    assert got.status_code == 413
    assert "1000 bytes" in got.json()["toy"]
    assert client.post("/toy/say", content=(b" " * 600 for _ in range(2))).status_code == 413  # in chunks


def test_errors_of_the_engine(toy):
    server = toy()
    got = server.client.post("/toy/say", json={"prompt": [1] * 65})
    assert (got.status_code, got.json()["toy"]) == (400, "the prompt has 65 tokens, the context holds 64")
    server.engine.full = True
    got = server.client.post("/toy/say", json={"stream": "sse"})  # an error before the first item has its status
    assert (got.status_code, got.headers["retry-after"]) == (429, "1")


def test_an_error_in_the_middle_is_told_in_the_stream(toy):
    server = toy()
    server.engine.error = LocalllmError("/home/somebody/fake.gguf: the logits are not finite")
    got = server.client.post("/toy/say", json={"stream": "sse"})
    assert (got.status_code, got.json()["toy"]) == (500, "fake: the logits are not finite")


def test_no_secret_of_a_bug_is_told(toy, caplog):
    got = toy().client.get("/toy/broken")
    assert got.status_code == 500
    assert "secret" not in got.text
    assert "secret" in caplog.text


def test_want_of_memory_is_told_as_such(serve, caplog):
    """By whatever comes to it; it may pass."""
    served = serve()

    def short(*_args, **_given):
        raise MemoryError

    served.engine.submit = short
    for stream in (False, True):
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
        told = served.client.post("/v1/chat/completions", json=body)
        assert (told.status_code, told.headers["retry-after"]) == (503, "1")
        assert told.json()["error"]["message"] == "not enough memory"
    assert served.client.get("/health").status_code == 200
    assert "Traceback" not in caplog.text


def test_unknown_paths_and_methods_have_the_shape_of_their_dialect(toy):
    client = toy().client
    assert client.get("/toy/none").json()["toy"] == "no such path"
    assert client.get("/toy/say").status_code == 405
    assert client.get("/none").json()["error"] == {"code": 404, "message": "no such path", "type": "not_found_error"}


def test_unknown_fields_are_logged_once_by_name(toy, caplog):
    caplog.set_level(logging.INFO, "localllm.server")
    client = toy().client
    for _ in range(2):
        assert client.post("/toy/say", json={"frobnicate": "private"}).status_code == 200
    assert caplog.text.count("frobnicate") == 1
    assert "private" not in caplog.text


def test_health(serve):
    assert serve().client.get("/health").json() == {"status": "ok"}


def test_prompts_are_logged_only_where_that_is_asked_for(toy, caplog):
    caplog.set_level(logging.INFO, "localllm.server")
    toy().client.post("/toy/say", json={"prompt": [19, 5, 3, 18, 5, 20]})
    assert "secret" not in caplog.text
    toy(log_prompts=True).client.post(
        "/toy/say", json={"prompt": [19, 5, 3, 18, 5, 20]}, headers={"x-request-id": "r1"}
    )
    assert "r1 prompt: 'secret'" in caplog.text


def test_requests_are_logged_without_queries(toy, caplog):
    caplog.set_level(logging.INFO, "localllm.server.access")
    toy().client.get("/health?key=private")
    assert "GET /health 200" in caplog.text
    assert "private" not in caplog.text

"""/api/chat, /api/generate and the rest of Ollama's API by the fake model, which says its script."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from localllm.generate.grammar import Grammar
from localllm.server.chat import ToolCall
from localllm.server.dialects.ollama_messages import keep_alive
from localllm.server.endpoint import ApiError
from tests.recorded import models as recorded

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "add", "description": "sums", "parameters": {"type": "object"}}}


@pytest.fixture
def chat(ask):
    """Not streamed unless a test says so."""
    return lambda script="hello", messages=HI, **body: ask(
        "/api/chat", {"model": "fake", "messages": messages, "stream": False} | body, script
    )


def lines(got):
    return [json.loads(line) for line in got.text.splitlines()]


@pytest.fixture
def stream(serve):
    def post(path, body, script="hello"):
        server = serve(script)
        return lines(server.client.post(path, json={"model": "fake"} | body))

    return post


def test_an_answer(chat):
    got = chat().json
    assert got["message"] == {"role": "assistant", "content": "hello"}
    assert (got["model"], got["done"], got["done_reason"]) == ("fake", True, "stop")
    assert (got["prompt_eval_count"], got["eval_count"]) == (8, 5)
    assert got["prompt_eval_duration"] == 500_000_000
    assert got["created_at"].endswith("Z")
    assert chat(model="fake:latest").json["model"] == "fake"
    assert chat(options={"num_predict": 2}).json["done_reason"] == "length"


def test_it_streams_unless_told_not_to(stream):
    got = stream("/api/chat", {"messages": HI})
    assert [line["message"]["content"] for line in got] == [*"hello", ""]
    assert [line["done"] for line in got] == [False] * 5 + [True]
    assert "done_reason" not in got[0]
    assert got[-1]["eval_count"] == 5


def test_thinking_and_calls(chat, stream, marked):
    script = "<hm>so/add:1|/sub:x|"
    got = chat(script, tools=[TOOL], think=True).json
    calls = [
        {"function": {"name": "add", "arguments": {"arguments": "1"}, "index": 0}, "id": "call_0"},
        {"function": {"name": "sub", "arguments": {"arguments": "x"}, "index": 1}, "id": "call_1"},
    ]
    assert got["message"] == {"role": "assistant", "content": "so", "thinking": "hm", "tool_calls": calls}
    assert got["done_reason"] == "stop"
    assert marked[0].thinking is True
    told = stream("/api/chat", {"messages": HI, "tools": [TOOL]}, script)
    assert [line["message"]["tool_calls"] for line in told if "tool_calls" in line["message"]] == [[c] for c in calls]
    assert "".join(line["message"].get("thinking", "") for line in told) == "hm"


def test_what_is_asked_becomes_neutral(chat, marked):
    conversation = [
        *HI,
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
            {"function": {"name": "add", "arguments": {"x": 1}}}, {"function": {"name": "sub", "arguments": {}}},
        ]},
        {"role": "tool", "content": "2", "tool_name": "sub"},
        {"role": "tool", "content": "1", "tool_name": "add"},
    ]  # fmt: skip
    got = chat(
        messages=conversation, tools=[TOOL], think="high", format={"type": "object"},
        options={"temperature": 0.5, "top_k": 3, "seed": 7, "num_predict": -1, "num_gpu": 99, "stop": ["zz"]},
    )  # fmt: skip
    assert got.status == 200
    (asked,) = marked
    function = {"name": "add", "arguments": {"x": 1}}
    assert asked.messages[1]["tool_calls"][0] == {"id": "call_1_0", "type": "function", "function": function}
    assert asked.messages[1]["reasoning_content"] == "hm"
    assert [m["tool_call_id"] for m in asked.messages[2:]] == ["call_1_1", "call_1_0"]
    assert asked.tools == [TOOL]
    assert (asked.thinking, asked.template_kwargs) == (True, {"reasoning_effort": "high"})
    assert asked.grammar == Grammar("json_schema", '{"type":"object"}')
    (request,) = got.requests
    assert (request.sampling.temperature, request.sampling.top_k, request.sampling.seed) == (0.5, 3, 7)
    assert (request.max_tokens, request.stop) == (None, ("zz",))


def test_arguments_are_an_object():
    assert ToolCall("", "add", '{"x": [1]}').object() == {"x": [1]}
    assert ToolCall("", "add", "").object() == {}
    assert ToolCall("", "add", '{"x": ').object() == {"arguments": '{"x": '}


def test_generate(ask, stream):
    got = ask("/api/generate", {"model": "fake", "prompt": "hi", "stream": False}).json
    assert (got["response"], got["done"], got["eval_count"]) == ("hello", True, 5)
    assert [line["response"] for line in stream("/api/generate", {"prompt": "hi"})] == [*"hello", ""]


def test_generate_raw_and_with_a_system_prompt(ask):
    raw = ask("/api/generate", {"model": "fake", "prompt": "hi", "raw": True, "stream": False})
    assert raw.requests[-1].ids == [0, 8, 9]
    with_system = ask("/api/generate", {"model": "fake", "prompt": "hi", "system": "be", "stream": False})
    assert len(with_system.requests[-1].ids) > 8
    got = ask("/api/generate", {"model": "fake", "prompt": "a", "suffix": "b", "stream": False})
    assert got.status == 400


def test_logprobs(chat):
    entries = chat(logprobs=True, top_logprobs=2).json["logprobs"]
    assert [entry["token"] for entry in entries] == [*"hello"]
    assert len(entries[0]["top_logprobs"]) == 2
    assert "top_logprobs" not in chat(logprobs=True).json["logprobs"][0]
    assert "logprobs" not in chat().json


def test_a_model_is_loaded_and_dropped(serve):
    server = serve()
    for path in ("/api/generate", "/api/chat"):
        got = server.client.post(path, json={"model": "fake"}).json()
        assert (got["done"], got["done_reason"]) == (True, "load")
        (row,) = server.client.get("/api/ps").json()["models"]
        (listed,) = server.client.get("/api/tags").json()["models"]
        assert (row["name"], row["expires_at"]) == ("fake", "2999-12-31T00:00:00Z")
        assert row["digest"] == listed["digest"]
        assert len(row["digest"]) == 64
        got = server.client.post(path, json={"model": "fake", "keep_alive": 0}).json()
        assert got["done_reason"] == "unload"
        assert server.client.get("/api/ps").json()["models"] == []


def test_how_long_a_model_stays():
    given = {None: None, 5: 5, "10m": 600, "1h30m": 5400, "1.5s": 1.5, "-1": -1, "-5m": -300, "30": 30, "0": 0}
    assert {value: keep_alive(value) for value in given} == given
    for wrong in ("soon", "10 m", "", "1h" * 100, float("inf")):
        with pytest.raises(ApiError, match="keep_alive"):
            keep_alive(wrong)


def test_what_there_is(serve, tmp_path):
    llama = recorded.cases()["llama"]
    case = replace(llama, kv=llama.kv | {"general.file_type": 15})
    path = recorded.write(tmp_path / "tiny.gguf", case)
    client = serve(files={"tiny": str(path), "gone": "/home/somebody/gone.gguf"}).client
    tiny, gone = client.get("/api/tags").json()["models"]
    assert (tiny["name"], tiny["size"]) == ("tiny", path.stat().st_size)
    assert (tiny["details"]["family"], tiny["details"]["format"]) == ("llama", "gguf")
    assert tiny["details"]["quantization_level"] == "Q4_K_M"
    assert (gone["name"], gone["size"], gone["details"]["family"]) == ("gone", 0, "")
    shown = client.post("/api/show", json={"model": "tiny"}).json()
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["capabilities"] == ["completion"]
    assert "temperature" in shown["parameters"]
    assert str(tmp_path) not in json.dumps(shown)
    assert client.post("/api/show", json={"name": "tiny"}).json() == shown
    assert client.get("/api/version").json()["version"].count(".") == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, 400, "images"),
        ("/api/chat", {"messages": [{"role": "nobody", "content": "x"}]}, 400, "nobody"),
        ("/api/chat", {"messages": HI, "format": "xml"}, 400, "format"),
        ("/api/chat", {"messages": HI, "options": {"top_p": 2.0}}, 400, "top_p"),
        ("/api/chat", {"messages": HI, "keep_alive": "soon"}, 400, "keep_alive"),
        ("/api/chat", {"messages": HI, "model": "none"}, 404, "none"),
        ("/api/chat", {"messages": [{"role": "user", "content": "x" * 100}]}, 400, "the context holds 64"),
        ("/api/generate", {"prompt": "x", "context": [1, 2]}, 400, "context"),
        ("/api/generate", {"prompt": "x", "template": "{{ .Prompt }}"}, 400, "template"),
        ("/api/show", {"model": ""}, 400, "model"),
        ("/api/pull", {"model": "no-such-model"}, 404, "catalog"),
        ("/api/pull", {"model": "http://127.0.0.1:1/a.gguf"}, 404, "catalog"),
        ("/api/pull", {"model": "/etc/passwd"}, 404, "catalog"),
        ("/api/create", {}, 403, "command line"),
        ("/api/blobs/sha256:0", {}, 403, "command line"),
        ("/api/nothing", {}, 404, "no such path"),
    ],
)
def test_errors_are_a_line(ask, path, body, status, word):
    got = ask(path, {"model": "fake", "stream": False} | body)
    assert got.status == status
    assert list(got.json) == ["error"]
    assert word in got.json["error"]


def test_pull_tells_how_far_it_is(serve, monkeypatch):
    from localllm.store.catalog import catalog

    def fetch(entry, progress):
        progress("downloading", 5, 10)
        progress("downloading", 10, 10)

    monkeypatch.setattr("localllm.store.fetch.fetch", fetch)
    client = serve().client
    got = lines(client.post("/api/pull", json={"model": catalog().default.name}))
    assert (got[0], got[-1]) == ({"status": "pulling manifest"}, {"status": "success"})
    assert {"status": "downloading", "total": 10, "completed": 5} in got
    assert client.post("/api/pull", json={"model": catalog().default.name, "stream": False}).json() == got[-1]

"""/v1/responses by the fake model, which says its script."""

from __future__ import annotations

import msgspec
import pytest

from localllm.errors import LocalllmError
from localllm.generate.grammar import Grammar
from localllm.server.dialects.openai_responses_store import ResponseStore
from localllm.server.dialects.openai_responses_types import InputItem, Reasoning, Response, TextConfig, TextFormat

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}, "strict": True}


@pytest.fixture
def respond(ask, marked):
    def post(script="hello", **body):
        got = ask(PATH, {"input": "hi", **body}, script)
        got.asked = marked[-1] if marked else None
        return got

    return post


@pytest.fixture
def fetch(ask):
    return lambda path, method="GET", script="hello": ask(f"{PATH}/{path}", None, script, method)


def test_an_answer(respond):
    got = respond(model="fake", instructions="be brief", metadata={"a": "b"}).json
    assert got["id"].startswith("resp_")
    (item,) = got["output"]
    assert item.pop("id").startswith("msg_")
    text = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
    assert item == {"type": "message", "role": "assistant", "status": "completed", "content": [text]}
    assert got["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }
    told = {name: got[name] for name in ("object", "status", "model", "instructions", "error", "incomplete_details")}
    assert told == {
        "object": "response", "status": "completed", "model": "fake", "instructions": "be brief", "error": None,
        "incomplete_details": None,
    }  # fmt: skip
    assert (got["metadata"], got["tools"], got["tool_choice"]) == ({"a": "b"}, [], "auto")
    assert (got["text"], got["temperature"], got["truncation"]) == ({"format": {"type": "text"}}, 0.8, "disabled")


def test_a_stream(respond):
    got = respond(stream=True)
    assert got.frames[0].startswith("event: response.created\ndata: ")
    assert [chunk["type"] for chunk in got.chunks] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 5,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [chunk["sequence_number"] for chunk in got.chunks] == list(range(len(got.chunks)))
    assert got.chunks[0]["response"]["status"] == "in_progress"
    added, part, delta = got.chunks[2:5]
    assert added["item"]["content"] == []
    assert part["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert (delta["delta"], delta["item_id"], delta["output_index"], delta["content_index"]) == (
        "h", added["item"]["id"], 0, 0,
    )  # fmt: skip
    assert got.chunks[-4]["text"] == "hello"
    last = got.chunks[-1]
    assert last["response"]["id"] == got.chunks[0]["response"]["id"]
    assert last["response"]["output"] == [got.chunks[-2]["item"]]
    assert last["timings"]["predicted_n"] == 5


def test_thinking_calls_and_text_are_items(respond):
    script = "<hm>ok/add:12|"
    got = respond(script, tools=[TOOL])
    thought, message, call = got.json["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert thought["summary"] == []
    assert message["content"][0]["text"] == "ok"
    assert (call["name"], call["arguments"], call["call_id"]) == ("add", "12", "call_0")
    assert call["status"] == "completed"
    assert got.json["usage"]["output_tokens_details"]["reasoning_tokens"] == 4
    chunks = respond(script, tools=[TOOL], stream=True).chunks
    kinds = [chunk["type"].removeprefix("response.") for chunk in chunks]
    assert kinds[2:9] == [
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done",
    ]  # fmt: skip
    assert kinds[-6:] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    done = chunks[-3]
    assert (done["arguments"], done["name"], done["output_index"]) == ("12", "add", 2)
    assert [c["output_index"] for c in chunks if c["type"] == "response.output_item.added"] == [0, 1, 2]


def test_thinking_as_a_summary(respond):
    reasoning = {"effort": "low", "summary": "auto"}
    got = respond("<hm>ok", reasoning=reasoning)
    assert got.json["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert got.json["output"][0]["content"] == []
    assert got.json["reasoning"]["effort"] == "low"
    assert got.asked.template_kwargs == {"reasoning_effort": "low"}
    kinds = [
        chunk["type"].removeprefix("response.") for chunk in respond("<hm>", reasoning=reasoning, stream=True).chunks
    ]
    assert kinds[3:-2] == [
        "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done",
    ]  # fmt: skip
    assert respond(reasoning={"effort": "none"}).asked.thinking is False
    assert respond(thinking_budget_tokens=5).asked.thinking_budget == 5


def test_an_answer_that_is_cut_off(respond):
    got = respond(max_output_tokens=2)
    assert (got.json["status"], got.json["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert got.json["output"][0]["status"] == "incomplete"
    assert respond(max_output_tokens=2, stream=True).chunks[-1]["type"] == "response.incomplete"
    empty = respond(max_output_tokens=0).json["output"]
    assert empty[0]["content"][0]["text"] == ""


def test_logprobs(respond):
    include = ["message.output_text.logprobs"]
    content = respond(include=include, top_logprobs=1).json["output"][0]["content"][0]
    assert [entry["token"] for entry in content["logprobs"]] == list("hello")
    assert content["logprobs"][0]["top_logprobs"] == [{"token": "h", "logprob": -0.25, "bytes": [104]}]
    assert respond(include=include).requests[-1].logprobs == 0
    chunks = respond(top_logprobs=1, stream=True).chunks
    deltas = [chunk for chunk in chunks if chunk["type"] == "response.output_text.delta"]
    assert [chunk["logprobs"][0]["token"] for chunk in deltas] == list("hello")
    assert respond(top_logprobs=21).status == 400


def test_items_become_messages(respond):
    items = [
        {"role": "developer", "content": "brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "wait"}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
        {"role": "assistant", "content": "so"},
        {"role": "user", "content": "b"},
    ]
    got = respond(input=items, instructions="rules", tools=[TOOL])
    assert got.status == 200
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "add", "arguments": "{}"}},
    ]
    assert got.asked.messages == [
        {"role": "system", "content": "rules"},
        {"role": "developer", "content": [{"type": "text", "text": "brief"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {
            "role": "assistant", "content": [{"type": "text", "text": "wait"}], "reasoning_content": "hm",
            "tool_calls": calls,
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "so"}]},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
    ]  # fmt: skip
    assert got.asked.tools == [
        {"type": "function", "function": {"name": "add", "parameters": TOOL["parameters"], "strict": True}}
    ]
    assert not got.asked.prefill


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "name": "add"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "messages[0].content[0]"),
        ({"input": [{"role": "king", "content": "a"}]}, "messages[0].role"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "sub"}}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"stream_options": {}}, "stream_options"),
        ({"previous_response_id": "resp_none"}, "previous_response_id"),
        ({"top_p": 2}, "top_p"),
    ],
)  # fmt: skip
def test_what_cannot_be(respond, body, param):
    got = respond(**body)
    assert got.status in (400, 404)
    assert got.error["param"] == param


def test_choice_and_form(respond):
    got = respond(tools=[TOOL], tool_choice={"type": "function", "name": "add"}, parallel_tool_calls=False)
    assert (got.asked.tool_choice, got.asked.parallel_tool_calls) == ("add", False)
    assert got.json["tool_choice"] == {"type": "function", "name": "add"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]}
    assert respond(tools=[TOOL], tool_choice=allowed).asked.tool_choice == "required"
    form = {"type": "json_schema", "name": "x", "schema": {"type": "array"}, "strict": True}
    got = respond(text={"format": form})
    assert got.asked.grammar == Grammar("json_schema", '{"type":"array"}')
    assert got.json["text"]["format"] == form
    assert respond(text={"format": {"type": "json_object"}}).asked.grammar == Grammar("json", "object")
    assert respond(temperature=0.5, top_k=3).requests[-1].sampling.top_k == 3


def test_one_response_goes_on_from_another(respond, fetch):
    first = respond("<hm>ok", instructions="once", input="a").json
    second = respond("<hm>ok", input="b", previous_response_id=first["id"])
    assert second.json["previous_response_id"] == first["id"]
    text = [{"type": "text", "text": "a"}]
    assert second.asked.messages[0] == {"role": "user", "content": text}  # without the instructions
    assert second.asked.messages[1]["reasoning_content"] == "hm"
    assert second.asked.messages[1]["content"] == [{"type": "text", "text": "ok"}]
    assert second.asked.messages[2]["content"] == [{"type": "text", "text": "b"}]
    third = respond("<hm>ok", input=None, previous_response_id=second.json["id"])
    assert len(third.asked.messages) == 4


def test_what_is_kept(respond, fetch):
    made = respond(input="a").json
    assert fetch(made["id"]).json == made
    assert fetch(made["id"] + "?stream=true").status == 400
    items = fetch(made["id"] + "/input_items").json
    (item,) = items["data"]
    assert item["id"].startswith("msg_")
    assert (item["role"], item["content"]) == ("user", [{"type": "input_text", "text": "a"}])
    assert (items["object"], items["first_id"], items["has_more"]) == ("list", item["id"], False)
    assert fetch(made["id"], "DELETE").json == {"id": made["id"], "object": "response", "deleted": True}
    got = fetch(made["id"])
    assert (got.status, got.error["code"]) == (404, "response_not_found")
    assert fetch(made["id"], "DELETE").status == 404
    assert fetch(respond(store=False).json["id"]).status == 404
    streamed = respond(stream=True).chunks[-1]["response"]
    assert fetch(streamed["id"]).json == streamed


def test_pages_of_items(respond, fetch):
    items = [{"id": f"msg_{i}", "role": "user", "content": "a"} for i in range(5)]
    made = respond(input=items).json["id"]

    def page(query):
        got = fetch(f"{made}/input_items?{query}").json
        return [item["id"][-1] for item in got["data"]], got["has_more"]

    assert page("") == (["4", "3", "2", "1", "0"], False)
    assert page("order=asc&limit=2") == (["0", "1"], True)
    assert page("order=asc&limit=2&after=msg_3") == (["4"], False)
    assert page("order=asc&after=msg_4") == ([], False)
    for wrong in ("limit=0", "limit=x", "limit=101", "order=up", "after=none"):
        assert fetch(f"{made}/input_items?{wrong}").status == 400


def test_the_store_is_bounded():
    def response(name):
        return Response(
            id=name, created_at=0, status="completed", instructions=None, model="m", output=[], tools=[],
            tool_choice="auto", parallel_tool_calls=True, text=TextConfig(TextFormat()), reasoning=Reasoning(),
            temperature=0, top_p=1,
            top_logprobs=0, max_output_tokens=None, previous_response_id=None, store=True, metadata={}, user=None,
        )  # fmt: skip

    def kept(store, names):
        return [name for name in names if name in store._stored]

    store = ResponseStore(max_responses=2)
    for name in "ab":
        store.put(response(name), None, [])
    store.get("a")
    store.put(response("c"), None, [])
    assert kept(store, "abc") == ["a", "c"]
    size = len(msgspec.json.encode(response("a"))) + len(b"[]")
    store = ResponseStore(max_bytes=2 * size)
    for name in "abc":
        store.put(response(name), None, [])
    assert kept(store, "abc") == ["b", "c"]
    store.drop("b")
    store.put(response("d"), None, [])
    assert kept(store, "cd") == ["c", "d"]
    store.put(response("e"), store.get("d"), [])  # holds what d has, too
    assert kept(store, "cde") == ["e"]
    assert store.get("e").conversation == []
    store.put(response("f"), None, [InputItem(content="x" * 1000)])  # more than there is room for
    assert not store._stored
    assert store._n_bytes == 0


def test_errors(respond):
    server = respond().server
    server.engine.full = True
    assert respond(stream=True).status == 429
    server.engine.full, server.engine.error = False, LocalllmError("broken")
    got = respond()
    assert (got.status, got.error["message"]) == (500, "broken")
    got = respond(stream=True).chunks[-1]
    assert got["type"] == "response.failed"
    assert got["response"]["error"] == {"code": "server_error", "message": "broken"}
    assert got["response"]["status"] == "failed"


def test_tokens_of_an_input(ask, marked):
    for path in ("/v1/responses/input_tokens", "/responses/input_tokens"):
        assert ask(path, {"input": "hi"}).json == {"object": "response.input_tokens", "input_tokens": 3}

"""/v1/messages by the fake model, which says its script."""

from __future__ import annotations

import json

import pytest

from localllm.errors import LocalllmError
from localllm.generate.grammar import Grammar
from localllm.server.dialects.anthropic import DIALECT
from localllm.server.streams import sse_frame

PATH = "/v1/messages"
HI = [{"role": "user", "content": "hi"}]
TOOL = {"name": "add", "description": "sums", "input_schema": {"type": "object", "properties": {}}}
IMAGE = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image", "source": {"type": "base64"}}]}


@pytest.fixture
def messages(ask):
    return lambda script="hello", messages=HI, **body: ask(
        PATH, {"model": "fake", "max_tokens": 50, "messages": messages} | body, script
    )


def names(got):
    return [frame.split("\n")[0].removeprefix("event: ") for frame in got.frames]


def test_an_answer(messages):
    got = messages().json
    assert got["id"].startswith("msg_")
    assert (got["type"], got["role"], got["model"]) == ("message", "assistant", "fake")
    assert got["content"] == [{"type": "text", "text": "hello", "citations": None}]
    assert (got["stop_reason"], got["stop_sequence"]) == ("end_turn", None)
    assert got["usage"] == {
        "input_tokens": 8, "output_tokens": 5, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
        "service_tier": "standard",
    }  # fmt: skip


def test_why_it_ended(messages):
    assert messages(max_tokens=2).json["stop_reason"] == "max_tokens"
    got = messages(stop_sequences=["zz", "ll"]).json
    assert (got["stop_reason"], got["stop_sequence"]) == ("stop_sequence", "ll")


def test_a_stream(messages):
    got = messages(stream=True)
    assert names(got) == [
        "message_start", "content_block_start", *["content_block_delta"] * 5, "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    assert [json.loads(frame.split("data: ", 1)[1])["type"] for frame in got.frames] == names(got)
    start, *_, end, stop = got.chunks
    assert start["message"]["content"] == []
    assert start["message"]["usage"]["input_tokens"] == 8
    assert "".join(chunk["delta"]["text"] for chunk in got.chunks[2:7]) == "hello"
    assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert end["usage"]["output_tokens"] == 5
    assert stop == {"type": "message_stop"}


def test_thinking_text_and_calls_are_blocks(messages, marked):
    script = "<hm>so/add:1|/sub:2|"
    got = messages(script, tools=[TOOL], thinking={"type": "enabled", "budget_tokens": 20}).json
    assert [block["type"] for block in got["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert got["content"][0] == {"type": "thinking", "thinking": "hm", "signature": ""}
    assert got["content"][2] == {"type": "tool_use", "id": "call_0", "name": "add", "input": {"arguments": "1"}}
    assert got["stop_reason"] == "tool_use"
    assert (marked[0].thinking, marked[0].thinking_budget) == (True, 20)
    stream = messages(script, tools=[TOOL], stream=True)
    starts = [chunk for chunk in stream.chunks if chunk["type"] == "content_block_start"]
    stops = [chunk["index"] for chunk in stream.chunks if chunk["type"] == "content_block_stop"]
    assert [(chunk["index"], chunk["content_block"]["type"]) for chunk in starts] == [
        (0, "thinking"), (1, "text"), (2, "tool_use"), (3, "tool_use"),
    ]  # fmt: skip
    assert stops == [0, 1, 2, 3]
    pieces = [chunk["delta"] for chunk in stream.chunks if chunk["type"] == "content_block_delta"]
    assert {"type": "input_json_delta", "partial_json": "2"} in pieces
    assert pieces[:3] == [
        {"type": "thinking_delta", "thinking": "h"}, {"type": "thinking_delta", "thinking": "m"},
        {"type": "signature_delta", "signature": ""},
    ]  # fmt: skip


def test_an_answer_that_ends_in_its_thoughts_has_no_other_block(messages, marked):
    got = messages("<hm", thinking={"type": "enabled", "budget_tokens": 20}, max_tokens=3).json
    assert [block["type"] for block in got["content"]] == ["thinking"]
    assert got["stop_reason"] in ("end_turn", "max_tokens")
    assert messages("", thinking={"type": "disabled"}).json["content"] == [
        {"type": "text", "text": "", "citations": None}
    ]


def test_what_is_asked_becomes_neutral(messages, marked):
    conversation = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "c"},
                {"type": "tool_use", "id": "1", "name": "add", "input": {"x": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "d"},
                {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "2"}]},
            ],
        },
    ]
    schema = {"type": "object"}
    got = messages(
        messages=conversation, system=[{"type": "text", "text": "s"}], tools=[TOOL], temperature=0.5, top_k=3,
        tool_choice={"type": "tool", "name": "add", "disable_parallel_tool_use": True}, metadata={"user_id": "me"},
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )  # fmt: skip
    assert got.status == 200
    (asked,) = marked
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"x":1}'}}
    assert asked.messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "c", "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "2"},
        {"role": "user", "content": "d"},
    ]
    function = {"name": "add", "parameters": TOOL["input_schema"], "description": "sums"}
    assert asked.tools == [{"type": "function", "function": function}]
    assert (asked.tool_choice, asked.parallel_tool_calls, asked.thinking) == ("add", False, False)
    assert asked.grammar == Grammar("json_schema", '{"type":"object"}')
    (request,) = got.requests
    assert (request.sampling.temperature, request.sampling.top_k, request.max_tokens) == (0.5, 3, 50)
    assert request.user.endswith(" me")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"type": "auto"}, "auto"), ({"type": "any"}, "required"), ({"type": "none"}, "none"), (None, "auto")],
)
def test_choice_of_tools(messages, marked, given, expected):
    messages(tools=[TOOL], tool_choice=given)
    assert marked[0].tool_choice == expected


def test_the_last_message_of_the_assistant_is_continued(messages, marked):
    messages(messages=[*HI, {"role": "assistant", "content": "he"}])
    assert marked[0].prefill


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"max_tokens": -1}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "system", "content": [{"type": "image"}]}]}, "image"),
        (
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            "messages.0.content.0.content.0: a block of type 'image'",
        ),
        ({"mcp_servers": [{"type": "url", "url": "https://example.org", "name": "x"}]}, "mcp_servers"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "mcp_toolset"),
        ({"tools": [{"name": "add"}]}, "input_schema"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "image"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "tool_use_id"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}, "id and a name"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "sub"}}, "sub"),
        ({"tool_choice": {"type": "other"}}, "tool_choice"),
        ({"thinking": {"type": "much"}}, "thinking"),
        ({"output_config": {"format": {"type": "xml"}}}, "json_schema"),
        ({"top_p": 2.0}, "top_p"),
    ],
)
def test_what_cannot_be_answered_is_refused(messages, body, word):
    got = messages(**body)
    assert got.status == 400
    assert got.json["type"] == "error"
    assert got.error["type"] == "invalid_request_error"
    assert word in got.error["message"]


def test_errors_have_the_dialects_shape(messages, ask):
    assert messages(model="none").error["type"] == "not_found_error"
    assert ask("/v1/messages/nothing", {}).json["type"] == "error"
    long = messages(messages=[{"role": "user", "content": "x" * 100}])
    assert (long.status, long.error["type"]) == (400, "invalid_request_error")
    assert "the context holds 64" in long.error["message"]


def test_an_error_within_a_stream(serve):
    server = serve("hello")
    server.engine.error = LocalllmError("the model is damaged")
    body = {"max_tokens": 5, "messages": HI, "stream": True}
    text = server.client.post(PATH, json=body).text
    last = text.strip().split("\n\n")[-1]
    assert last.startswith("event: error\ndata: ")
    assert json.loads(last.split("data: ", 1)[1])["error"] == {"type": "api_error", "message": "the model is damaged"}


def test_the_stamp_of_claude_code_does_not_spoil_the_known_beginning(messages, marked):
    head = "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli; cch="
    for stamp in ("a5145", "0b3f2"):
        messages(system=[{"type": "text", "text": f"{head}{stamp};"}, {"type": "text", "text": "cch=a5145;"}])
    first, second = (asked.messages[0]["content"] for asked in marked)
    assert first == second == f"{head}00000;\ncch=a5145;"


def test_what_else_is_text(messages, marked):
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t"}
    result = {"type": "tool_result", "tool_use_id": "1", "content": [document], "is_error": True}
    call = {"type": "tool_use", "id": "1", "name": "add", "input": {}}
    messages(messages=[
        {"role": "user", "content": [document]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
        {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
    ], tools=[TOOL], context_management={"edits": []})  # fmt: skip
    told = [(message["role"], message["content"]) for message in marked[0].messages]
    assert told == [("user", "d"), ("assistant", None), ("tool", "d"), ("system", "s")]


def test_a_prompt_is_read_without_an_answer(messages):
    got = messages(max_tokens=0).json
    assert (got["stop_reason"], got["usage"]["output_tokens"]) == ("max_tokens", 0)


def test_pings_have_a_name():
    assert sse_frame(DIALECT.ping) == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_models_in_the_clients_form(serve):
    server = serve()
    got = server.client.get("/v1/models", params={"limit": 1000}, headers={"anthropic-version": "2023-06-01"})
    assert got.headers["request-id"] == got.headers["x-request-id"]
    listed = got.json()
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "fake", "fake")
    (model,) = listed["data"]
    assert (model["type"], model["id"], model["display_name"]) == ("model", "fake", "fake")
    assert model["created_at"] == "1970-01-01T00:00:00Z"
    assert server.client.get("/v1/models/fake").json() == model


def test_tokens_are_counted_without_an_answer(ask):
    got = ask(f"{PATH}/count_tokens", {"model": "fake", "messages": HI})
    assert got.json == {"input_tokens": 8}
    assert not got.requests

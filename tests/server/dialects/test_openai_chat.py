"""/v1/chat/completions by the fake model, which says its script."""

from __future__ import annotations

import threading

import pytest

from localllm.errors import LocalllmError

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
OTHER = {"type": "function", "function": {"name": "sub", "description": "less"}}


def test_an_answer(chat):
    got = chat(model="fake").json
    assert got["id"].startswith("chatcmpl-")
    assert (got["object"], got["model"]) == ("chat.completion", "fake")
    assert got["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert got["usage"] == {
        "prompt_tokens": 8,
        "completion_tokens": 5,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert (got["timings"]["prompt_n"], got["timings"]["prompt_ms"], got["timings"]["predicted_n"]) == (8, 500.0, 5)
    assert got["system_fingerprint"].startswith("localllm-")


def test_both_paths(ask):
    assert ask("/chat/completions", {"messages": HI}).json["choices"][0]["message"]["content"] == "hello"


def test_a_stream_is_role_text_reason_and_end(chat):
    got = chat(stream=True)
    assert got.ended
    assert [chunk["choices"][0]["delta"] for chunk in got.chunks] == [
        {"role": "assistant", "content": ""},
        *({"content": letter} for letter in "hello"),
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in got.chunks] == [None] * 6 + ["stop"]
    assert len({(chunk["id"], chunk["created"], chunk["object"]) for chunk in got.chunks}) == 1
    assert "usage" not in got.chunks[0]
    assert got.chunks[-1]["timings"]["predicted_n"] == 5


def test_usage_in_a_stream_is_a_chunk_without_choices(chat):
    got = chat(stream=True, stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in got.chunks[:-1])
    assert got.chunks[-1]["choices"] == []
    assert got.chunks[-1]["usage"]["total_tokens"] == 13


def test_progress_of_the_prompt(chat):
    chunks = chat(stream=True, return_progress=True).chunks
    progress = [chunk["prompt_progress"] for chunk in chunks if "prompt_progress" in chunk]
    assert [(p["total"], p["cache"], p["processed"]) for p in progress] == [(8, 0, 8)]


def test_several_answers(chat):
    got = chat(n=3)
    assert [choice["index"] for choice in got.json["choices"]] == [0, 1, 2]
    assert got.json["usage"]["completion_tokens"] == 15
    assert got.json["usage"]["prompt_tokens"] == 8
    chunks = chat(n=3, stream=True).chunks
    for index in range(3):
        text = [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(text) == "hello"
    assert chat(n=0).error["param"] == "n"
    assert chat(n=129).status == 400


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
def test_a_limit_of_tokens(chat, name):
    got = chat(**{name: 2})
    assert got.json["choices"][0]["finish_reason"] == "length"
    assert got.json["choices"][0]["message"]["content"] == "he"
    assert chat(**{name: -1}).json["choices"][0]["finish_reason"] == "stop"
    assert chat(**{name: None}).requests[-1].max_tokens is None


def test_stops(chat):
    assert chat(stop="lo").json["choices"][0]["finish_reason"] == "stop"
    assert chat(stop="lo").requests[-1].stop == ("lo",)
    assert chat(stop=["x", "", "y"]).requests[-1].stop == ("x", "y")
    assert chat(stop=["x"] * 65).error["param"] == "stop"
    assert chat(stop="x" * 1001).status == 400


def test_logprobs(chat):
    content = chat(logprobs=True, top_logprobs=2).json["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == list("hello")
    assert content[0] == {
        "token": "h",
        "logprob": -0.25,
        "bytes": [104],
        "top_logprobs": [
            {"token": "h", "logprob": -0.25, "bytes": [104]},
            {"token": "i", "logprob": -1.25, "bytes": [105]},
        ],
    }
    assert chat(logprobs=True).json["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []
    chunks = chat(logprobs=True, stream=True).chunks
    assert [c["choices"][0]["logprobs"]["content"][0]["token"] for c in chunks[1:-1]] == list("hello")
    assert chat(top_logprobs=2).error["param"] == "top_logprobs"
    assert chat(logprobs=True, top_logprobs=21).error["param"] == "top_logprobs"


def test_thinking_is_told_apart_and_counted(chat, marked):
    script = "<hm>yes"
    got = chat(script, logprobs=True).json
    message = got["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "yes")
    assert got["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4  # with both of its marks
    assert [e["token"] for e in got["choices"][0]["logprobs"]["content"]] == list("yes")
    deltas = [c["choices"][0]["delta"] for c in chat(script, stream=True).chunks]
    assert deltas[1:3] == [{"reasoning_content": "h"}, {"reasoning_content": "m"}]


def test_calls(chat, marked):
    script = "ok /add:12|/sub:3|"
    choice = chat(script, tools=[TOOL, OTHER]).json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "ok "
    assert choice["message"]["tool_calls"] == [
        {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": "12"}},
        {"id": "call_1", "type": "function", "function": {"name": "sub", "arguments": "3"}},
    ]
    assert chat("/add:12", tools=[TOOL]).json["choices"][0]["message"]["content"] is None
    chunks = chat(script, tools=[TOOL, OTHER], stream=True).chunks
    calls = [c["choices"][0]["delta"]["tool_calls"][0] for c in chunks if "tool_calls" in c["choices"][0]["delta"]]
    assert calls == [
        {"index": 0, "id": "call_0", "type": "function", "function": {"name": "add", "arguments": ""}},
        {"index": 0, "function": {"arguments": "1"}},
        {"index": 0, "function": {"arguments": "2"}},
        {"index": 1, "id": "call_1", "type": "function", "function": {"name": "sub", "arguments": ""}},
        {"index": 1, "function": {"arguments": "3"}},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chat(script, tools=[TOOL, OTHER], max_tokens=9).json["choices"][0]["finish_reason"] == "length"


def test_calls_have_no_logprobs(chat, marked):
    choice = chat("/add:12|", tools=[TOOL], logprobs=True).json["choices"][0]
    assert choice["logprobs"] == {"content": [], "refusal": None}
    chunks = chat("/add:12|", tools=[TOOL], logprobs=True, stream=True).chunks
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in chunks)
    choice = chat("ok/add:12|", tools=[TOOL], logprobs=True).json["choices"][0]
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["o", "k"]


def test_functions_of_the_old_form(chat, marked):
    functions = [TOOL["function"]]
    got = chat("/add:1", functions=functions, function_call={"name": "add"})
    assert marked[-1].tool_choice == "add"
    assert not marked[-1].parallel_tool_calls
    assert got.json["choices"][0]["finish_reason"] == "function_call"
    assert got.json["choices"][0]["message"]["function_call"] == {"name": "add", "arguments": "1"}
    deltas = [c["choices"][0]["delta"] for c in chat("/add:1", functions=functions, stream=True).chunks]
    assert deltas[1:-1] == [{"function_call": {"arguments": "", "name": "add"}}, {"function_call": {"arguments": "1"}}]
    history = [
        *HI,
        {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": {"a": 1}}},
        {"role": "function", "name": "add", "content": "2"},
    ]
    chat(messages=history)
    _, call, result = marked[-1].messages
    assert call["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    ]
    assert result == {"role": "tool", "name": "add", "tool_call_id": "call_1", "content": "2"}


def test_choice_of_tools(chat, marked):
    def chosen(choice):
        got = chat(tools=[TOOL, OTHER], tool_choice=choice)
        return (marked[-1].tool_choice, marked[-1].names) if got.status == 200 else got.error["param"]

    both = ("add", "sub")
    assert chosen(None) == ("auto", both)
    assert chosen("none") == ("none", both)
    assert chosen("required") == ("required", both)
    assert chosen({"type": "function", "function": {"name": "sub"}}) == ("sub", both)
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "sub"}}]}
    assert chosen({"type": "allowed_tools", "allowed_tools": allowed}) == ("required", ("sub",))
    for wrong in (
        "perhaps",
        {"type": "function", "function": {"name": "mul"}},
        {"type": "function", "function": {"name": "auto"}},
        {"type": "function"},
        {"type": "custom", "custom": {"name": "add"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "mul"}}]}},
        {"type": "allowed_tools", "allowed_tools": 3},
    ):
        assert chosen(wrong) == "tool_choice"
    chat(tools=[TOOL], parallel_tool_calls=False)
    assert not marked[-1].parallel_tool_calls
    assert chat(tools=[{"type": "custom", "custom": {"name": "x"}}]).status == 400


def test_messages(chat, marked):
    history = [
        {"role": "developer", "content": "brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "eve"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm"},
        {"role": "user", "content": "hi"},
    ]
    assert chat(messages=history).status == 200
    messages = marked[-1].messages
    assert messages[1]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages[1]["name"] == "eve"
    assert messages[3] == {"role": "tool", "tool_call_id": "c1", "content": "3"}
    assert messages[4] == {"role": "assistant", "content": "no", "reasoning_content": "hm"}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hi", "messages"),
        ([{"content": "hi"}], "messages[0]"),
        ([{"role": "king", "content": "hi"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([*HI, {"role": "user", "content": 3}], "messages[1].content"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
         "messages[0].tool_calls[0].function.arguments"),
    ],
)  # fmt: skip
def test_messages_that_cannot_be(chat, messages, param):
    got = chat(messages=messages)
    assert got.status == 400
    assert got.error["param"] == param
    assert got.error["type"] == "invalid_request_error"


def test_messages_are_needed(ask):
    assert "messages" in ask(PATH, {}).error["message"]


def test_a_last_message_of_the_assistant_is_continued(chat, marked):
    history = [*HI, {"role": "assistant", "content": "hel"}]
    chat(messages=history)
    assert marked[-1].prefill
    chat(messages=history, continue_final_message=False)
    assert not marked[-1].prefill
    chat(messages=history, continue_final_message=True)
    assert marked[-1].prefill
    assert chat(continue_final_message=True).error["param"] == "messages[0].role"


def test_thinking_and_variables_of_the_template(chat, marked):
    def told(**body):
        assert chat(**body).status == 200
        return marked[-1].thinking, marked[-1].thinking_budget, marked[-1].template_kwargs

    assert told() == (None, None, {})
    assert told(enable_thinking=False, thinking_budget_tokens=9) == (False, 9, {})
    assert told(chat_template_kwargs={"enable_thinking": True, "x": 1}) == (True, None, {"x": 1})
    assert told(reasoning_effort="none") == (False, None, {})
    assert told(reasoning_effort="low", reasoning_budget_tokens=-1) == (None, None, {"reasoning_effort": "low"})
    assert chat(chat_template_kwargs={"enable_thinking": "yes"}).error["param"] == "chat_template_kwargs"
    assert chat(chat_template_kwargs={"messages": []}).status == 400


def test_the_text_as_it_is(chat, marked):
    got = chat("<hm>yes", reasoning_format="none").json["choices"][0]["message"]
    assert got["content"] == "<hm>yes"
    assert chat(reasoning_format="none", tools=[TOOL]).error["param"] == "reasoning_format"
    assert chat(reasoning_format="odd").error["param"] == "reasoning_format"


def test_a_prompt_that_is_too_long(chat):
    for stream in (False, True):
        got = chat(messages=[{"role": "user", "content": "a" * 100}], stream=stream)
        assert got.status == 400
        assert got.error["type"] == "exceed_context_size_error"
        assert got.error["code"] == "context_length_exceeded"
        assert (got.error["n_prompt_tokens"], got.error["n_ctx"]) == (106, 64)


def test_errors_of_the_server(ask, chat):
    got = chat(model="none")
    assert (got.status, got.error["code"], got.error["param"]) == (404, "model_not_found", "model")
    server = chat().server
    server.engine.full = True
    assert (chat().status, chat().error["code"]) == (429, "rate_limit_exceeded")
    assert chat(stream=True).status == 429
    server.engine.full, server.engine.error = False, LocalllmError("broken")
    assert (chat().status, chat().error["type"]) == (500, "server_error")
    got = chat(stream=True)  # the role was told already
    assert got.chunks[-1]["error"]["message"] == "broken"
    assert not got.ended


def test_an_answer_that_the_server_gives_up_is_no_complete_one(serve):
    server = serve()
    server.engine.gate.clear()
    got = []
    asking = threading.Thread(target=lambda: got.append(server.client.post(PATH, json={"messages": HI})))
    asking.start()
    while asking.is_alive() and not server.engine.handles:
        asking.join(0.01)
    server.engine.close()
    asking.join(20)
    assert got[0].status_code == 503
    assert "retry-after" in got[0].headers


def test_tokens_of_a_conversation(ask):
    assert ask(PATH + "/input_tokens", {"messages": HI}).json == {"input_tokens": 8, "object": "response.input_tokens"}

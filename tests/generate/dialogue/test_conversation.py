"""Conversations are checked, and errors say where."""

from __future__ import annotations

from typing import Any

import pytest

from localllm.errors import UsageError
from localllm.generate.dialogue.conversation import (
    Conversation,
    ConversationError,
    arguments_of,
    parameters_of,
    text_of,
)

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def deep(n):
    return {} if n == 0 else {"a": deep(n - 1)}


def call(**function):
    return {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"messages": []}, "messages: there are none"),
    "no object": ({"messages": ["hi"]}, "messages[0]: must be an object, is a text"),
    "role": ({"messages": [USER, {"role": "robot"}]}, "messages[1].role: is 'robot'"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content: is missing"),
    "empty assistant": ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content: is missing"),
    "content": ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content: must be a text or a list"),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0]: is of type 'image_url'",
    ),
    "part": (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text: must be a text, is missing",
    ),
    "calls of a user": (
        {"messages": [USER | {"tool_calls": call(name="f")["tool_calls"]}]},
        "messages[0].tool_calls: only messages of the assistant",
    ),
    "calls": ({"messages": [{"role": "assistant", "tool_calls": "f"}]}, "messages[0].tool_calls: must be a list"),
    "call": ({"messages": [{"role": "assistant", "tool_calls": ["f"]}]}, "messages[0].tool_calls[0]: must be a call"),
    "call's name": ({"messages": [call(arguments="{}")]}, "messages[0].tool_calls[0].function.name: must be a text"),
    "arguments": (
        {"messages": [call(name="f", arguments="{")]},
        "messages[0].tool_calls[0].function.arguments: is no JSON",
    ),
    "list of arguments": (
        {"messages": [call(name="f", arguments="[]")]},
        "messages[0].tool_calls[0].function.arguments: must be a JSON object, is a list",
    ),
    "deep arguments": (
        {"messages": [call(name="f", arguments=deep(70))]},
        "messages[0].tool_calls[0].function.arguments: is nested more than 64",
    ),
    "tool": ({"messages": [USER], "tools": [{"type": "web_search"}]}, "tools[0]: is of type 'web_search'"),
    "no function": ({"messages": [USER], "tools": [{"type": "function"}]}, "tools[0].function: must be an object"),
    "name": (
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name: is 'a b'",
    ),
    "twice": ({"messages": [USER], "tools": [TOOL, TOOL]}, "tools[1].function.name: 'add' is there twice"),
    "description": (
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "a", "description": 1}}]},
        "tools[0].function.description: must be a text, is a number",
    ),
    "parameters": (
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
        "tools[0].function.parameters: must be a JSON schema",
    ),
    "parameters' type": (
        {
            "messages": [USER],
            "tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}],
        },
        "tools[0].function.parameters.type: is 'array'",
    ),
    "properties": (
        {
            "messages": [USER],
            "tools": [{"type": "function", "function": {"name": "a", "parameters": {"properties": []}}}],
        },
        "tools[0].function.parameters.properties: must be an object, is a list",
    ),
    "deep": (
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "a", "parameters": deep(70)}}]},
        "tools[0].function.parameters: is nested more than 64",
    ),
    "choice": ({"messages": [USER], "tools": [TOOL], "tool_choice": "sub"}, "tool_choice: is 'sub'"),
    "required": ({"messages": [USER], "tool_choice": "required"}, "tool_choice: is 'required', but there are no tools"),
    "budget": ({"messages": [USER], "thinking_budget": -1}, "thinking_budget: is -1"),
    "variable": ({"messages": [USER], "template_kwargs": {"messages": []}}, "template_kwargs.messages: is set by"),
    "prefill": ({"messages": [USER], "prefill": True}, "messages[0].role: only a message of the assistant"),
    "prefilled call": (
        {"messages": [USER, call(name="f")], "prefill": True},
        "messages[1].tool_calls: a message with calls is not continued",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_where(name):
    fields, start = WRONG[name]
    with pytest.raises(ConversationError) as caught:
        Conversation(**fields)
    assert str(caught.value).startswith(start)
    assert isinstance(caught.value, UsageError)
    assert str(caught.value) == f"{caught.value.where}: {caught.value.what}"


def test_which_tools_may_be_called():
    other = {"type": "function", "function": {"name": "sub"}}
    asked: dict[str, Any] = {"messages": [USER], "tools": [TOOL, other]}
    assert Conversation(**asked).callable_tools == [TOOL, other]
    assert not Conversation(**asked).must_call
    assert Conversation(**asked, tool_choice="none").callable_tools == ()
    assert Conversation(**asked, tool_choice="sub").callable_tools == [other]
    assert Conversation(**asked, tool_choice="sub").must_call
    assert Conversation(**asked, tool_choice="required").names == ("add", "sub")


def test_what_may_stand_in_messages():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert text_of(parts) == "a\nb"
    assert text_of(None) == ""
    assert text_of("x") == "x"
    Conversation([USER, call(name="f", arguments="{}"), {"role": "tool", "content": parts, "tool_call_id": "1"}])


def test_arguments_are_objects():
    assert arguments_of({"arguments": '{"a": 1}'}) == {"a": 1}
    assert arguments_of({"arguments": {"a": 1}}) == {"a": 1}
    assert arguments_of({"arguments": " "}) == arguments_of({}) == {}


def test_a_tool_without_parameters_takes_an_empty_object():
    assert parameters_of({"function": {"name": "f"}}) == {"type": "object", "properties": {}}
    assert parameters_of({"function": {"name": "f", "parameters": {}}}) == {"type": "object", "properties": {}}

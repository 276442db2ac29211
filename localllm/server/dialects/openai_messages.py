"""Messages and tools as OpenAI's chat endpoint takes them, made neutral: localllm.generate.dialogue checks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from localllm.generate.dialogue.conversation import CHOICES
from localllm.server.dialects.openai_common import as_json, refuse

_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of parts that are text -> the field that holds it."""


class ContentPart(msgspec.Struct, omit_defaults=True):
    """A part of a message. Only texts can be read: images, audio and files are refused."""

    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] = "{}"
    """JSON text; an object is taken, too."""


class ToolCallBody(msgspec.Struct):
    function: FunctionCall
    id: str | None = None
    type: str = "function"


class ChatMessage(msgspec.Struct, kw_only=True):
    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


class FunctionDefinition(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    type: str
    function: FunctionDefinition | None = None


Messages = Annotated[list[ChatMessage], Meta(min_length=1)]


def parts(content: str | Sequence[ContentPart] | None) -> str | list[dict[str, Any]] | None:
    """Content with all kinds of text called text; others keep their type, by which they are refused."""
    if content is None or isinstance(content, str):
        return content
    return [
        {"type": "text", "text": getattr(part, _TEXTS[part.type])} if part.type in _TEXTS else {"type": part.type}
        for part in content
    ]


def neutral_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Messages in the neutral form. Calls of the old form, which has no ids, get some."""
    waiting: list[str] = []
    """Ids of calls of the old form whose results have not come."""
    return [_neutral(message, waiting, i) for i, message in enumerate(messages)]


def _neutral(message: ChatMessage, waiting: list[str], place: int) -> dict[str, Any]:
    result: dict[str, Any] = {"role": message.role, "content": parts(message.content)}
    if message.content is None and message.refusal is not None:
        result["content"] = message.refusal
    if message.tool_calls:
        result["tool_calls"] = [
            _call(call, call.id or f"call_{place}_{i}") for i, call in enumerate(message.tool_calls)
        ]
    if message.function_call is not None:
        waiting.append(f"call_{place}")
        result["tool_calls"] = [_call(ToolCallBody(message.function_call), waiting[-1])]
    if message.role == "function":
        result |= {"role": "tool", "tool_call_id": waiting.pop(0) if waiting else None}
    optional = {name: getattr(message, name) for name in ("name", "tool_call_id", "reasoning_content")}
    return result | {name: value for name, value in optional.items() if value is not None}


def _call(call: ToolCallBody, call_id: str) -> dict[str, Any]:
    arguments = call.function.arguments
    text = arguments if isinstance(arguments, str) else as_json(arguments)
    return {"id": call_id, "type": call.type, "function": {"name": call.function.name, "arguments": text}}


def neutral_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]]:
    return [neutral_tool(tool.type, tool.function) for tool in tools or ()]


def neutral_tool(kind: str, function: FunctionDefinition | None) -> dict[str, Any]:
    if function is None:
        return {"type": kind}
    told = {name: value for name in function.__struct_fields__ if (value := getattr(function, name)) is not None}
    return {"type": kind, "function": told}


def tool_choice(given: str | dict[str, Any] | None, tools: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The choice ("auto", "none", "required" or a function's name), and the tools that are left to choose from."""
    if given is None or isinstance(given, str):
        return given or "auto", tools
    if given.get("type") == "allowed_tools":
        allowed = given.get("allowed_tools", given)  # /v1/responses has it without the inner object
        mode, listed = (allowed.get(name) if isinstance(allowed, dict) else None for name in ("mode", "tools"))
        if mode not in ("auto", "required") or not isinstance(listed, list):
            raise refuse("tool_choice: allowed_tools has a mode (auto or required) and tools", "tool_choice")
        names = {_name(tool) for tool in listed}
        if unknown := names - {_name(tool) for tool in tools}:
            raise refuse(f"tool_choice: there is no tool called {min(unknown)!r:.60}", "tool_choice")
        return mode, [tool for tool in tools if _name(tool) in names]
    if given.get("type") != "function":
        kind = given.get("type")
        raise refuse(f"tool_choice: type is {kind!r:.40}, must be function or allowed_tools", "tool_choice")
    if (name := _name(given)) in CHOICES:
        raise refuse(f"tool_choice: a function called {name!r} cannot be chosen by name", "tool_choice")
    return name, tools


def _name(tool: Any) -> str:
    """The name in {"function": {"name"}} (chat) or {"name"} (responses)."""
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(name, str):
        raise refuse("tool_choice: the function's name is missing", "tool_choice")
    return name

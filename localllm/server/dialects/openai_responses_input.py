"""What a body of /v1/responses asks for: items become neutral messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.grammar import Grammar
from localllm.server.chat import converse
from localllm.server.dialects import openai_fields
from localllm.server.dialects.openai_common import new_id, refuse
from localllm.server.dialects.openai_messages import ContentPart, FunctionDefinition, neutral_tool, parts, tool_choice
from localllm.server.dialects.openai_responses_types import FunctionTool, InputItem, ResponsesBody

Messages = list[dict[str, Any]]


def input_items(body: ResponsesBody) -> list[InputItem]:
    """The body's own input, with an id for each item. Raises ApiError."""
    _check(body)
    given = body.input
    if given is None or given == []:
        if body.previous_response_id is None:
            raise refuse("input: is missing", "input")
        given = []
    items = [InputItem(role="user", content=given)] if isinstance(given, str) else given
    return [_shown(item) for item in items]


def _check(body: ResponsesBody) -> None:
    for name in ("background", "conversation", "prompt"):
        if getattr(body, name):
            raise refuse(f"{name}: is not supported here", name)
    if body.stream_options is not None and not body.stream:
        raise refuse("stream_options: goes with stream", "stream_options")


def _shown(item: InputItem) -> InputItem:
    """The item as /v1/responses/{id}/input_items tells of it."""
    content = item.content
    if isinstance(content, str):
        kind = "output_text" if item.role == "assistant" else "input_text"
        content = [ContentPart(kind, content)]
    kind = item.type or "message"
    prefix = {"message": "msg_", "function_call": "fc_", "function_call_output": "fco_"}.get(kind, "item_")
    named = {"type": kind, "id": item.id or new_id(prefix), "content": content, "status": item.status or "completed"}
    return msgspec.structs.replace(item, **named)


def conversation(body: ResponsesBody, items: Sequence[InputItem]) -> Conversation:
    """Items, those of earlier responses first, as what is to be answered. Raises ApiError."""
    messages: Messages = [{"role": "system", "content": body.instructions}] if body.instructions else []
    for i, item in enumerate(items):
        add = _ITEMS.get(item.type or "message")
        if add is None:
            raise refuse(f"input[{i}]: items of type {item.type!r:.40} cannot be read here", f"input[{i}].type")
        add(messages, item, f"input[{i}]")
    tools = [_tool(tool) for tool in body.tools or ()]
    choice, allowed = tool_choice(body.tool_choice, tools)
    thinking, variables = openai_fields.thinking(
        body.chat_template_kwargs, body.enable_thinking, body.reasoning.effort if body.reasoning else None
    )
    return converse(
        messages=messages,
        tools=allowed,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        thinking=thinking,
        thinking_budget=None if body.thinking_budget_tokens == -1 else body.thinking_budget_tokens,
        grammar=_grammar(body),
        template_kwargs=variables,
    )


def _tool(tool: FunctionTool) -> dict[str, Any]:
    if tool.name is None:
        return neutral_tool(tool.type, None)
    return neutral_tool(tool.type, FunctionDefinition(tool.name, tool.description, tool.parameters, tool.strict))


def _grammar(body: ResponsesBody) -> Grammar | None:
    asked = body.text.format if body.text else None
    if asked is None or asked.type in (None, "text"):
        return None
    if asked.type not in ("json_object", "json_schema"):
        types = "text, json_object or json_schema"
        raise refuse(f"text.format: type is {asked.type!r:.40}, must be {types}", "text.format.type")
    return openai_fields.json_grammar(asked.schema if asked.type == "json_schema" else None)


# --- items: each adds to the messages. Parts of one turn of the assistant become one message.


def _message(messages: Messages, item: InputItem, where: str) -> None:
    role = item.role or ""
    if role == "assistant" and messages and messages[-1].get("role") == "assistant" and _is_open(messages[-1]):
        messages[-1]["content"] = parts(item.content)
    else:
        messages.append({"role": role, "content": parts(item.content)})


def _is_open(message: dict[str, Any]) -> bool:
    """Whether a message of the assistant has thoughts alone so far."""
    return message.get("content") is None and not message.get("tool_calls")


def _call(messages: Messages, item: InputItem, where: str) -> None:
    if item.call_id is None or item.name is None:
        raise refuse(f"{where}: a function_call has call_id, name and arguments", where)
    call = {
        "id": item.call_id,
        "type": "function",
        "function": {"name": item.name, "arguments": item.arguments or "{}"},
    }
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _output(messages: Messages, item: InputItem, where: str) -> None:
    if item.call_id is None or item.output is None:
        raise refuse(f"{where}: a function_call_output has call_id and output", where)
    messages.append({"role": "tool", "tool_call_id": item.call_id, "content": parts(item.output)})


def _reasoning(messages: Messages, item: InputItem, where: str) -> None:
    told = item.content if isinstance(item.content, list) and item.content else item.summary or ()
    text = "\n".join(part.text or "" for part in told)
    if text:
        messages.append({"role": "assistant", "content": None, "reasoning_content": text})


_ITEMS: dict[str, Callable[[Messages, InputItem, str], None]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _output,
    "reasoning": _reasoning,
}

"""A conversation's messages and tools as a model's template takes them."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localllm.generate.dialogue.capabilities import Capabilities, Message
from localllm.generate.dialogue.conversation import arguments_of, parameters_of, text_of
from localllm.generate.dialogue.formats import Format
from localllm.generate.dialogue.prompts import calls_text, result_text, tools_prompt
from localllm.generate.dialogue.turn import json_text

_LETTERS = string.ascii_letters + string.digits


def plain_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tools with the fields that templates read, and no others."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool["function"]["name"],
                "description": tool["function"].get("description") or "",
                "parameters": parameters_of(tool),
            },
        }
        for tool in tools
    ]


def plain_messages(messages: Sequence[Mapping[str, Any]], can: Capabilities, row: Format) -> list[Message]:
    """Messages with the fields that templates read, in the forms that this template takes."""
    names: dict[str, str] = {}
    out = []
    for message in messages:
        plain = _plain_message(message, can, row, names)
        if plain["role"] == "developer" and "<|channel|>" not in can.source:
            plain["role"] = "system"
        out.append(plain)
    return out


def _plain_message(message: Mapping[str, Any], can: Capabilities, row: Format, names: dict[str, str]) -> Message:
    """names: of the functions by the ids of their calls, for the results that do not say it."""
    plain: Message = {"role": message["role"], "content": text_of(message.get("content"))}
    if message.get("reasoning_content"):
        plain["reasoning_content"] = message["reasoning_content"]
    if message.get("tool_calls"):
        plain["tool_calls"] = [_plain_call(call, can, row) for call in message["tool_calls"]]
        names.update({call["id"]: call["function"]["name"] for call in plain["tool_calls"]})
    if message["role"] == "tool":
        plain["tool_call_id"] = _fitting_id(message.get("tool_call_id") or "", row)
        plain["name"] = message.get("name") or names.get(plain["tool_call_id"], "")
    elif message.get("name"):
        plain["name"] = message["name"]
    return plain


def _plain_call(call: Mapping[str, Any], can: Capabilities, row: Format) -> dict[str, Any]:
    function = call["function"]
    arguments = arguments_of(function)
    return {
        "id": _fitting_id(call.get("id") or "", row),
        "type": "function",
        "function": {
            "name": function["name"],
            "arguments": json_text(arguments) if can.arguments == "text" else arguments,
        },
    }


def _fitting_id(call_id: str, row: Format) -> str:
    """Mistral's templates refuse ids that have not nine letters: others become such, the same ones the same."""
    if row.id_prefix or (len(call_id) == row.id_length and call_id.isalnum()):
        return call_id
    digest = hashlib.sha256(call_id.encode()).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[: row.id_length])


# --- what templates lack


def merge_systems(messages: list[Message], can: Capabilities) -> list[Message]:
    """One system message at the beginning at most; where the template shows none, it heads the user's first message, or
    is one of its own where another speaks first."""
    n = next((i for i, m in enumerate(messages) if m["role"] not in ("system", "developer")), len(messages))
    if n == 0 or (n == 1 and can.system):
        return messages
    first = {"role": messages[0]["role"], "content": "\n\n".join(m["content"] for m in messages[:n] if m["content"])}
    rest = messages[n:]
    if can.system:
        return [first, *rest]
    if not rest or rest[0]["role"] != "user":
        return [first | {"role": "user"}, *rest]
    return [rest[0] | {"content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def late_systems_as_users(messages: list[Message]) -> list[Message]:
    """Messages of the system in the middle as the user's, for a template that shows no such, or refuses them."""
    return messages[:1] + [m | {"role": "user"} if m["role"] in ("system", "developer") else m for m in messages[1:]]


def merge_neighbours(messages: list[Message]) -> list[Message]:
    """Messages of one role side by side become one, for a template that wants turns; not those with calls."""
    out: list[Message] = []
    for message in messages:
        last = out[-1] if out else {}
        roles = {message["role"], last.get("role")}
        if roles in ({"user"}, {"assistant"}) and not message.get("tool_calls") and not last.get("tool_calls"):
            out[-1] = last | message | {"content": f"{last['content']}\n\n{message['content']}"}
        else:
            out.append(message)
    return out


def tell_tools(messages: list[Message], tools: Sequence[Mapping[str, Any]], row: Format) -> list[Message]:
    """Tools in a system message, for a template that knows none."""
    return [{"role": "system", "content": tools_prompt(tools, row.name)}, *messages]


def calls_as_texts(messages: list[Message], row: Format) -> list[Message]:
    """Calls as content, for a template that shows none."""
    return [_with_calls_as_text(message, row) if message.get("tool_calls") else message for message in messages]


def _with_calls_as_text(message: Message, row: Format) -> Message:
    functions = [call["function"] for call in message["tool_calls"]]
    text = calls_text([(function["name"], arguments_of(function)) for function in functions], row.name)
    kept = {key: value for key, value in message.items() if key != "tool_calls"}
    return kept | {"content": "\n".join(filter(None, [message["content"], text]))}


def results_as_texts(messages: list[Message]) -> list[Message]:
    """Results as messages of the user, for a template that shows none; neighbours become one."""
    out: list[Message] = []
    joins = False
    for message in messages:
        is_result = message["role"] == "tool"
        if is_result:
            message = {"role": "user", "content": result_text(message["content"])}
        if joins and message["role"] == "user":
            out[-1] = out[-1] | {"content": f"{out[-1]['content']}\n{message['content']}"}
        else:
            out.append(message)
        joins = is_result
    return out


def one_call_each(messages: list[Message]) -> list[Message]:
    """Each call in a message of its own, with its result behind it, for a template that shows one a message."""
    out: list[Message] = []
    i = 0
    while i < len(messages):
        message = messages[i]
        i += 1
        if not message.get("tool_calls"):
            out.append(message)
            continue
        start = i
        while i < len(messages) and messages[i]["role"] == "tool":
            i += 1
        out += _one_by_one(message, messages[start:i])
    return out


def _one_by_one(message: Message, results: list[Message]) -> list[Message]:
    out: list[Message] = []
    left = list(results)
    for call in message["tool_calls"]:
        out.append(message | {"tool_calls": [call]})
        message = {"role": message["role"], "content": ""}
        own = next((i for i, result in enumerate(left) if result["tool_call_id"] == call["id"]), 0)
        out += left[own : own + 1]
        del left[own : own + 1]
    return out + left


# --- what single families want


def _harmony(messages: list[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """gpt-oss's template wants thoughts in "thinking", and in messages with calls either these or content."""
    out: list[Message] = []
    for message in messages:
        kept = {key: value for key, value in message.items() if key != "reasoning_content"}
        if "reasoning_content" in message:
            kept["thinking"] = message["reasoning_content"]
        if "tool_calls" in message and message["content"]:
            out.append({"role": "assistant", "content": message["content"]})
        if "tool_calls" in message:
            del kept["content"]
        out.append(kept)
    return out


def _mistral(messages: list[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Thoughts as parts of the content, where there are any."""
    return [
        {key: value for key, value in message.items() if key != "reasoning_content"}
        | {
            "content": [
                {"type": "thinking", "thinking": message["reasoning_content"]},
                *([{"type": "text", "text": message["content"]}] if message["content"] else []),
            ]
        }
        if message.get("reasoning_content")
        else message
        for message in messages
    ]


def _phi(messages: list[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Phi-4-mini's template reads tools from the system message, as JSON."""
    if not tools:
        return messages
    told = json_text([tool["function"] for tool in tools])
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": "You are a helpful assistant with some tools."}, *messages]
    return [messages[0] | {"tools": told}, *messages[1:]]


ADAPT: dict[str, Callable[[list[Message], Sequence[Mapping[str, Any]]], list[Message]]] = {
    "harmony": _harmony,
    "mistral": _mistral,
    "mistral-args": _mistral,
    "mistral-id": _mistral,
    "phi-4": _phi,
}
"""By the name of the format: what the messages become for its templates."""
SHOWS_TOOLS = frozenset({"phi-4"})
"""Formats whose ADAPT tells of tools, where templates do not."""

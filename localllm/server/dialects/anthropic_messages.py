"""Anthropic's messages, made neutral: their blocks become texts, calls and results of tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from localllm.generate.dialogue.conversation import CHOICES, Conversation
from localllm.generate.grammar import Grammar
from localllm.server.chat import converse
from localllm.server.dialects.anthropic_types import Block, CountBody, InputMessage, ToolBody, ToolChoice
from localllm.server.dialects.openai_common import as_json, refuse


def conversation(body: CountBody) -> Conversation:
    """What a body asks to be answered. Raises ApiError."""
    if body.mcp_servers:
        raise refuse("mcp_servers: this server asks no others; give their tools as your own", "mcp_servers")
    messages = [] if not body.system else [{"role": "system", "content": _system(body.system)}]
    for place, message in enumerate(body.messages):
        messages += _neutral(message, f"messages.{place}")
    last = messages[-1]
    thinking = body.thinking
    if thinking is not None and thinking.type not in _THINKING:
        raise refuse(f"thinking.type is {thinking.type!r:.40}, must be {' or '.join(_THINKING)}", "thinking.type")
    effort = body.output_config.effort if body.output_config else None
    return converse(
        messages=messages,
        tools=[_tool(tool, place) for place, tool in enumerate(body.tools or ())],
        tool_choice=_choice(body.tool_choice),
        parallel_tool_calls=not (body.tool_choice and body.tool_choice.disable_parallel_tool_use),
        thinking=_THINKING[thinking.type] if thinking else False,
        thinking_budget=thinking.budget_tokens if thinking else None,
        grammar=_grammar(body),
        template_kwargs={"reasoning_effort": effort} if effort else {},
        prefill=last["role"] == "assistant" and not last.get("tool_calls"),
    )


_THINKING = {"enabled": True, "disabled": False, "adaptive": True}
"""A request that says nothing of thinking does not want any, as the reference has it."""


_STAMP = re.compile(r"(x-anthropic-billing-header:[^\n]*?\bcch=)[0-9a-f]{5}(?=;)")
"""Claude Code puts a stamp that changes with every request at the head of its system prompt: no beginning of it would
ever be known again (llama.cpp: normalize_anthropic_billing_header, tools/server/server-chat.cpp)."""


def _system(system: str | Sequence[Block]) -> str:
    texts = [system] if isinstance(system, str) else [_text(block, "system") for block in system]
    return "\n".join(_without_stamp(text) for text in texts)


def _without_stamp(text: str) -> str:
    found = _STAMP.match(text)
    return f"{found[1]}00000{text[found.end() :]}" if found else text


def _text(block: Block, place: str) -> str:
    if block.type == "text" and block.text is not None:
        return block.text
    source = block.source or {}
    if block.type == "document" and source.get("type") == "text" and isinstance(text := source.get("data"), str):
        return text
    raise refuse(f"{place}: a block of type {block.type!r:.40} cannot be read here, only text", place)


def _neutral(message: InputMessage, place: str) -> list[dict[str, Any]]:
    """The message; results of tools are messages of their own, before the text beside them."""
    if message.role not in _READERS:
        raise refuse(f"{place}.role is {message.role!r:.40}, must be {', '.join(_READERS)}", f"{place}.role")
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    return _READERS[message.role](message.content, place)


def _answer(blocks: Sequence[Block], place: str) -> list[dict[str, Any]]:
    texts, thoughts, calls = [], [], []
    for i, block in enumerate(blocks):
        match block.type:
            case "thinking":
                thoughts.append(block.thinking or "")
            case "redacted_thinking":
                pass  # nobody can read it
            case "tool_use":
                calls.append(_call(block, f"{place}.content.{i}"))
            case _:
                texts.append(_text(block, f"{place}.content.{i}"))
    result: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        result["reasoning_content"] = "".join(thoughts)
    if calls:
        result["tool_calls"] = calls
    return [result]


def _direction(blocks: Sequence[Block], place: str) -> list[dict[str, Any]]:
    texts = [_text(block, f"{place}.content.{i}") for i, block in enumerate(blocks)]
    return [{"role": "system", "content": "\n".join(texts)}]


def _call(block: Block, place: str) -> dict[str, Any]:
    if block.id is None or block.name is None:
        raise refuse(f"{place}: a tool_use has an id and a name", place)
    function = {"name": block.name, "arguments": as_json(block.input or {})}
    return {"id": block.id, "type": "function", "function": function}


def _question(blocks: Sequence[Block], place: str) -> list[dict[str, Any]]:
    results, texts = [], []
    for i, block in enumerate(blocks):
        if block.type == "tool_result":
            results.append(_result(block, f"{place}.content.{i}"))
        else:
            texts.append(_text(block, f"{place}.content.{i}"))
    return [*results, *([{"role": "user", "content": "\n".join(texts)}] if texts or not results else ())]


def _result(block: Block, place: str) -> dict[str, Any]:
    if block.tool_use_id is None:
        raise refuse(f"{place}: tool_use_id is missing", f"{place}.tool_use_id")
    content = block.content or ""
    if isinstance(content, dict):
        raise refuse(f"{place}.content: must be a text, or a list of blocks", f"{place}.content")
    if not isinstance(content, str):
        content = "\n".join(_text(part, f"{place}.content.{i}") for i, part in enumerate(content))
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}


_READERS = {"user": _question, "assistant": _answer, "system": _direction}
"""Role -> what makes its blocks neutral."""


def _tool(tool: ToolBody, place: int) -> dict[str, Any]:
    if tool.type not in (None, "custom"):
        text = f"tools.{place}: a tool of type {tool.type!r:.60} is not run here, only your own are called"
        raise refuse(text, f"tools.{place}")
    if tool.name is None or tool.input_schema is None:
        raise refuse(f"tools.{place}: a tool has a name and an input_schema", f"tools.{place}")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    optional = {"description": tool.description, "strict": tool.strict}
    function |= {name: value for name, value in optional.items() if value is not None}
    return {"type": "function", "function": function}


_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def _choice(choice: ToolChoice | None) -> str:
    if choice is None:
        return "auto"
    if choice.type in _CHOICES:
        return _CHOICES[choice.type]
    if choice.type != "tool" or choice.name is None:
        raise refuse("tool_choice: its type is auto, any, none, or tool with a name", "tool_choice")
    if choice.name in CHOICES:
        raise refuse(f"tool_choice: a function called {choice.name!r} cannot be chosen by name", "tool_choice.name")
    return choice.name


def _grammar(body: CountBody) -> Grammar | None:
    form = body.output_config.format if body.output_config and body.output_config.format else body.output_format
    if form is None:
        return None
    if form.type != "json_schema" or form.schema is None:
        raise refuse("output_config.format: its type is json_schema, with a schema", "output_config.format")
    return Grammar("json_schema", as_json(form.schema))

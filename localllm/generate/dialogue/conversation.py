"""Conversations, independent of the API that they came through: messages, tools, and how they are to be answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from localllm.errors import UsageError
from localllm.gate.check import shown
from localllm.generate.grammar_input import Grammar

MAX_MESSAGES = 65_536
MAX_TOOLS = 1_024
MAX_CALLS = 1_024
"""Calls in one message."""
MAX_DEPTH = 64
"""Levels of nesting in the schema of a tool, and in the arguments of a call."""

ROLES = ("system", "developer", "user", "assistant", "tool")
CHOICES = ("auto", "none", "required")
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z")
_OWN_VARIABLES = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"})


class ConversationError(UsageError):
    """A conversation that cannot be answered. `where` names the place: "messages[2].tool_calls[0].function.name"."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


@dataclass(frozen=True)
class Conversation:
    """What is to be answered. Raises ConversationError, a UsageError that says which message and field is wrong."""

    messages: Sequence[Mapping[str, Any]]
    """In the form of OpenAI's chat completions: role (system, developer, user, assistant, tool), content (a text, None,
    or a list of {"type": "text", "text": ...}), of the assistant also tool_calls and reasoning_content, of a tool also
    tool_call_id and name. Arguments of calls are JSON text, or objects."""
    tools: Sequence[Mapping[str, Any]] = ()
    """{"type": "function", "function": {"name", "description", "parameters": JSON schema, "strict"}}."""
    tool_choice: str = "auto"
    """"auto", "none" (tools are told but not called), "required" (at least one call), or the name of a function. A
    function called "auto" cannot be named."""
    parallel_tool_calls: bool = True
    """False: one call at most."""
    thinking: bool | None = None
    """None: as the template has it."""
    thinking_budget: int | None = None
    """Tokens of thinking after which its end is forced; 0: none at all; None: no limit."""
    grammar: Grammar | None = None
    """What the content of the answer keeps to (OpenAI's response_format); calls and thinking are no part of it."""
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further variables of the template, such as reasoning_effort."""
    prefill: bool = False
    """The last message, of the assistant, is the beginning of the answer: it is continued."""

    def __post_init__(self) -> None:
        _check_messages(self.messages, self.prefill)
        _check_tools(self.tools)
        _check_choice(self.tool_choice, self.names)
        if self.thinking_budget is not None and self.thinking_budget < 0:
            raise ConversationError("thinking_budget", f"is {self.thinking_budget}: it must be 0 or more")
        for name in _OWN_VARIABLES & set(self.template_kwargs):
            raise ConversationError(f"template_kwargs.{name}", "is set by the conversation itself")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the functions."""
        return tuple(tool["function"]["name"] for tool in self.tools)

    @property
    def callable_tools(self) -> Sequence[Mapping[str, Any]]:
        """The tools that the answer may call."""
        if self.tool_choice == "none":
            return ()
        if self.tool_choice in CHOICES:
            return self.tools
        return [tool for tool in self.tools if tool["function"]["name"] == self.tool_choice]

    @property
    def must_call(self) -> bool:
        return self.tool_choice not in ("auto", "none")


def text_of(content: object) -> str:
    """The text of a message's content; parts are joined by line feeds, as llama.cpp does it (common/chat.cpp)."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(part["text"] for part in content)
    return ""


def parameters_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a tool's arguments; of a tool without parameters, that of an empty object."""
    return tool["function"].get("parameters") or {"type": "object", "properties": {}}


def _check_messages(messages: Sequence[Mapping[str, Any]], prefill: bool) -> None:
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise ConversationError("messages", f"must be a list, are {_kind(messages)}")
    if not messages:
        raise ConversationError("messages", "there are none: at least one is needed")
    if len(messages) > MAX_MESSAGES:
        raise ConversationError("messages", f"there are {len(messages)}: at most {MAX_MESSAGES} are taken")
    for i, message in enumerate(messages):
        _check_message(f"messages[{i}]", message)
    if prefill and messages[-1]["role"] != "assistant":
        raise ConversationError(f"messages[{len(messages) - 1}].role", "only a message of the assistant is continued")
    if prefill and messages[-1].get("tool_calls"):
        raise ConversationError(f"messages[{len(messages) - 1}].tool_calls", "a message with calls is not continued")


def _check_message(where: str, message: object) -> None:
    if not isinstance(message, Mapping):
        raise ConversationError(where, f"must be an object, is {_kind(message)}")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise ConversationError(f"{where}.role", f"is {shown(role)}: it must be one of {', '.join(ROLES)}")
    for name, check in _FIELDS.items():
        if message.get(name) is not None:
            check(f"{where}.{name}", message[name])
    if message.get("content") is None and not (
        role == "assistant" and (message.get("tool_calls") or message.get("reasoning_content"))
    ):
        raise ConversationError(f"{where}.content", "is missing")
    if message.get("tool_calls") and role != "assistant":
        raise ConversationError(f"{where}.tool_calls", "only messages of the assistant have calls")


def _check_text(where: str, value: object) -> None:
    if not isinstance(value, str):
        raise ConversationError(where, f"must be a text, is {_kind(value)}")


def _check_content(where: str, content: object) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, Sequence):
        raise ConversationError(where, f"must be a text or a list of parts, is {_kind(content)}")
    for i, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") != "text":
            kind = part.get("type") if isinstance(part, Mapping) else _kind(part)
            raise ConversationError(
                f"{where}[{i}]", f"is of type {kind!r:.40}: only parts of type 'text' are supported"
            )
        _check_text(f"{where}[{i}].text", part.get("text"))


def _check_calls(where: str, calls: object) -> None:
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise ConversationError(where, f"must be a list, is {_kind(calls)}")
    if len(calls) > MAX_CALLS:
        raise ConversationError(where, f"there are {len(calls)}: at most {MAX_CALLS} are taken")
    for i, call in enumerate(calls):
        _check_call(f"{where}[{i}]", call)


def _check_call(where: str, call: object) -> None:
    if not isinstance(call, Mapping) or call.get("type", "function") != "function":
        raise ConversationError(where, 'must be a call of a function: {"type": "function", "function": {...}}')
    function = call.get("function")
    if not isinstance(function, Mapping):
        raise ConversationError(f"{where}.function", f"must be an object, is {_kind(function)}")
    _check_text(f"{where}.function.name", function.get("name"))
    if call.get("id") is not None:
        _check_text(f"{where}.id", call["id"])
    arguments_of(function, f"{where}.function.arguments")


def arguments_of(function: Mapping[str, Any], where: str = "arguments") -> Mapping[str, Any]:
    """The arguments of a call as an object; none, or an empty text, is an object without members."""
    arguments = function.get("arguments")
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise ConversationError(where, f"is no JSON: {error}") from None
    if not isinstance(arguments, Mapping):
        raise ConversationError(where, f"must be a JSON object, is {_kind(arguments)}")
    _check_depth(where, arguments)
    return arguments


def _check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    if len(tools) > MAX_TOOLS:
        raise ConversationError("tools", f"there are {len(tools)}: at most {MAX_TOOLS} are taken")
    seen: set[str] = set()
    for i, tool in enumerate(tools):
        where = f"tools[{i}]"
        if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
            kind = tool.get("type") if isinstance(tool, Mapping) else _kind(tool)
            raise ConversationError(where, f"is of type {kind!r:.40}: only 'function' is supported")
        _check_function(f"{where}.function", tool.get("function"))
        name = tool["function"]["name"]
        if name in seen:
            raise ConversationError(f"{where}.function.name", f"{name!r} is there twice")
        seen.add(name)


def _check_function(where: str, function: object) -> None:
    if not isinstance(function, Mapping):
        raise ConversationError(where, f"must be an object, is {_kind(function)}")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise ConversationError(
            f"{where}.name",
            f"is {name!r:.140}: 1 to 128 letters of the alphabet, digits, '_', '-', '.' and ':' are taken",
        )
    if function.get("description") is not None:
        _check_text(f"{where}.description", function["description"])
    parameters = function.get("parameters")
    if parameters is None:
        return
    if not isinstance(parameters, Mapping):
        raise ConversationError(f"{where}.parameters", f"must be a JSON schema, is {_kind(parameters)}")
    if parameters.get("type", "object") != "object":
        raise ConversationError(f"{where}.parameters.type", f"is {parameters['type']!r:.40}: it must be 'object'")
    for key, kind, name in (("properties", Mapping, "an object"), ("required", list | tuple, "a list")):
        if parameters.get(key) is not None and not isinstance(parameters[key], kind):
            raise ConversationError(f"{where}.parameters.{key}", f"must be {name}, is {_kind(parameters[key])}")
    _check_depth(f"{where}.parameters", parameters)


def _check_choice(choice: str, names: Sequence[str]) -> None:
    if choice not in (*CHOICES, *names):
        raise ConversationError(
            "tool_choice", f"is {choice!r:.140}: it must be one of {', '.join(CHOICES)} or a tool's name"
        )
    if choice == "required" and not names:
        raise ConversationError("tool_choice", "is 'required', but there are no tools")


def _check_depth(where: str, value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[object] = []
        for item in level:
            if isinstance(item, Mapping):
                deeper += item.values()
            elif isinstance(item, list | tuple):
                deeper += item
        if not deeper:
            return
        level = deeper
    raise ConversationError(where, f"is nested more than {MAX_DEPTH} levels deep")


_FIELDS: dict[str, Callable[[str, object], None]] = {
    "content": _check_content,
    "tool_calls": _check_calls,
    "tool_call_id": _check_text,
    "name": _check_text,
    "reasoning_content": _check_text,
}


def _kind(value: object) -> str:
    """What a value is, in JSON's words."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        int: "a number",
        float: "a number",
        bool: "true or false",
    }
    return "missing" if value is None else names.get(type(value), type(value).__name__)

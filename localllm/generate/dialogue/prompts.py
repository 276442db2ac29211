"""What stands in for what a template lacks: tools in a system prompt, calls and results as plain text.

Models are told the form that they were trained to (DeepSeek's is in the model card of V3.1), or that of Hermes
(NousResearch's Hermes-Function-Calling), which many have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localllm.generate.dialogue.turn import json_text

Calls = Sequence[tuple[str, Mapping[str, Any]]]
"""Names and arguments."""

_EXAMPLE = ("function_name", {"argument": "value"})
_HEAD = """# Tools

You may call one or more of these functions to help with the user's request. Each is described by a JSON schema:
<tools>
"""
_TAIL = """
</tools>

To call a function, answer with its name and arguments as JSON, in this form and with nothing else:
{form}
Otherwise answer as usual."""


def tools_prompt(tools: Sequence[Mapping[str, Any]], format_name: str) -> str:
    """A system prompt that tells of tools."""
    told = "\n".join(json_text(tool) for tool in tools)
    return _HEAD + told + _TAIL.replace("{form}", calls_text([_EXAMPLE], format_name))


def calls_text(calls: Calls, format_name: str) -> str:
    """Calls as a model writes them."""
    return OWN_FORMS.get(format_name, _hermes)(calls)


def result_text(content: str) -> str:
    """What a tool gave back, in a message of the user."""
    return f"<tool_response>\n{content}\n</tool_response>"


def _hermes(calls: Calls) -> str:
    return "\n".join(
        f"<tool_call>\n{json_text({'name': name, 'arguments': arguments})}\n</tool_call>" for name, arguments in calls
    )


def _deepseek(calls: Calls) -> str:
    listed = "".join(
        f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{json_text(arguments)}<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{listed}<｜tool▁calls▁end｜>"


def _deepseek_r1(calls: Calls) -> str:
    listed = "\n".join(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{json_text(arguments)}\n```<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{listed}<｜tool▁calls▁end｜>"


def _json_list(calls: Calls) -> str:
    return json_text([{"name": name, "arguments": arguments} for name, arguments in calls])


def _pythonic(calls: Calls) -> str:
    written = (f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})" for name, arguments in calls)
    return f"<|tool_call_start|>[{', '.join(written)}]<|tool_call_end|>"


def _kimi(calls: Calls) -> str:
    listed = "".join(
        f"<|tool_call_begin|>functions.{name}:{i}<|tool_call_argument_begin|>{json_text(arguments)}<|tool_call_end|>"
        for i, (name, arguments) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{listed}<|tool_calls_section_end|>"


OWN_FORMS: dict[str, Callable[[Calls], str]] = {
    "deepseek": _deepseek,
    "deepseek-r1": _deepseek_r1,
    "granite": lambda calls: f"<|tool_call|>{_json_list(calls)}",
    "phi-4": lambda calls: f"<|tool_call|>{_json_list(calls)}<|/tool_call|>",
    "lfm2": _pythonic,
    "kimi": _kimi,  # the templates of some change lists, which the sandbox does not let them
}
"""How calls are written, by the name of the format, where some template leaves that to its user."""

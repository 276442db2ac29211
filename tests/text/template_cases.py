"""Conversations that are rendered through the templates of tests/text/templates, by transformers and by us."""

from __future__ import annotations

from datetime import datetime
from typing import Any

NOW = datetime(2026, 1, 2, 3, 4, 5)
"""What `strftime_now` takes for the time."""
BOS, EOS = "<s>", "</s>"

SYSTEM = {"role": "system", "content": "Be brief.\nAnswer in English."}
ASK = {"role": "user", "content": "What is the weather in Rome and in Köln?"}
SAID = {"role": "assistant", "content": "It is sunny."}
MORE = {"role": "user", "content": "And tomorrow?"}
ODD = {
    "role": "user",
    "content": " \t«naïve» 🙂 日本語 \"quoted\" 'single' \\n {{ bos_token }} {% if %} <b>&amp;</b> </s> <|im_end|>"
    " \u2028 \n\n",
}
ODD_SAID = {"role": "assistant", "content": "\n 1 < 2 && 3 > 2; <think>no</think> [INST] \u00a0\n"}


def tool(name: str, description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    tool(
        "get_weather",
        "The weather <now> in a city & around it.",
        city={"type": "string", "description": 'The city, such as "Köln".'},
        unit={"type": "string", "enum": ["celsius", "fahrenheit"], "description": "The unit."},
    ),
    tool(
        "add",
        "The sum of two numbers.",
        a={"type": "number", "description": "One."},
        b={"type": "number", "description": "Another."},
    ),
]


def call(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, name: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}


WEATHER = {"city": "Köln", "unit": "celsius"}
CALLS = {"role": "assistant", "content": "", "tool_calls": [call("abcdefgh1", "get_weather", WEATHER)]}
CALLS_WITHOUT = {"role": "assistant", "content": None, "tool_calls": CALLS["tool_calls"]}
CALLS_AS_TEXT = {
    "role": "assistant",
    "content": "I look.",
    "tool_calls": [call("abcdefgh1", "get_weather", '{"city": "Köln", "unit": "celsius"}')],
}
RESULT = result("abcdefgh1", "get_weather", '{"degrees": 21.5, "sky": "<clear>"}')
BOTH = {
    "role": "assistant",
    "content": "",
    "tool_calls": [call("abcdefgh1", "get_weather", WEATHER), call("abcdefgh2", "add", {"a": 1, "b": 2.5})],
}
BOTH_RESULTS = [RESULT, result("abcdefgh2", "add", "3.5")]
THOUGHT = {"role": "assistant", "content": "It is sunny.", "reasoning_content": "The user asks.\nI know it."}
THOUGHT_CALL = {**CALLS, "reasoning_content": "I have to look it up."}
DOCUMENTS = [{"title": "Rome", "text": "It is sunny."}, {"title": "Köln", "text": "It rains."}]


def case(*messages: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"messages": list(messages), "add_generation_prompt": True, **settings}


CASES: dict[str, dict[str, Any]] = {
    "one": case(ASK),
    "system": case(SYSTEM, ASK),
    "turns": case(SYSTEM, ASK, SAID, MORE),
    "no prompt": case(SYSTEM, ASK, SAID, MORE, add_generation_prompt=False),
    "ends with the assistant": case(ASK, SAID, add_generation_prompt=False),
    "continued": case(ASK, SAID, add_generation_prompt=False, continue_final_message=True),
    "odd texts": case(ODD, ODD_SAID, ODD),
    "parts": case({"role": "user", "content": [{"type": "text", "text": "Hello!"}]}),
    "late system": case(ASK, SAID, SYSTEM, MORE),
    "assistant first": case(SAID, ASK),
    "unknown role": case(ASK, {"role": "critic", "content": "Hm."}),
    "tools": case(SYSTEM, ASK, tools=TOOLS),
    "call": case(SYSTEM, ASK, CALLS, RESULT, tools=TOOLS),
    "call without tools": case(ASK, CALLS, RESULT),
    "call without content": case(ASK, CALLS_WITHOUT, RESULT, tools=TOOLS),
    "arguments as text": case(ASK, CALLS_AS_TEXT, RESULT, tools=TOOLS),
    "parallel calls": case(ASK, BOTH, *BOTH_RESULTS, tools=TOOLS),
    "answered": case(ASK, CALLS, RESULT, SAID, MORE, tools=TOOLS),
    "thinking on": case(ASK, enable_thinking=True, thinking=True, reasoning_effort="high"),
    "thinking off": case(ASK, enable_thinking=False, thinking=False, reasoning_effort="low"),
    "earlier thoughts": case(ASK, THOUGHT, MORE, enable_thinking=True, thinking=True),
    "thoughts before a call": case(ASK, THOUGHT_CALL, RESULT, tools=TOOLS, enable_thinking=True, thinking=True),
    "documents": case(ASK, documents=DOCUMENTS),
    "variables": case(
        SYSTEM, ASK, tools=TOOLS, date_string="01 Feb 2025", builtin_tools=["wolfram_alpha"],
        tools_in_user_message=False, model_identity="You are Someone.", keep_past_thinking=True, clear_thinking=False,
    ),
}  # fmt: skip
"""Name -> what apply_chat_template gets."""

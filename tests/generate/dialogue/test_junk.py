"""Whatever a client sends comes to a prompt, or to an error of ours that says where."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from localllm.errors import LocalllmError
from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.dialogue.prepare import prepare
from localllm.text.template import ChatTemplate
from tests.generate.dialogue.fakes import TemplateModel, template

CHATML = "{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}"
JUNK: list[Any] = [
    *(None, "", "x", "auto", "\ud800", "\0", 0, -1, 1e300, True, "{}", "[]", '{"a": 1}'),
    *([], {}, [[]], [{}], {"a": None}, {"type": []}, {"type": "object"}, {"$ref": "#/x"}),
    [{"type": "text", "text": "t"}],
]


def conversation() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "required": ["city"],
    }
    function = {"name": "f", "description": "d", "parameters": schema}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"city": "x"}'}}
    return {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "t"}]},
            {"role": "assistant", "content": "c", "reasoning_content": "r", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "c"},
            {"role": "user", "content": "u"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "thinking": None,
        "thinking_budget": None,
        "template_kwargs": {"x": 1},
    }


def places(value: Any, path: tuple[Any, ...] = ()):
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def changed(rng: random.Random) -> dict[str, Any]:
    """A conversation with junk in one or two places of its messages or tools."""
    value = conversation()
    for _ in range(rng.randrange(1, 3)):
        found = [path for path in places(value) if path[0] in ("messages", "tools") and len(path) > 1]
        path = rng.choice(found)
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        if rng.random() < 0.3:
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(rng.choice(JUNK))
        if not value["messages"] or not value["tools"]:
            break
    return value


@pytest.mark.parametrize("name", ["Qwen3.5-4B", "openai-gpt-oss-120b", "google-gemma-4-31B-it", "LFM2-8B-A1B", ""])
def test_junk(name):
    rng = random.Random(name)
    model = TemplateModel(template(name) if name else ChatTemplate(CHATML))
    values = [(changed(rng), i % 10 == 0) for i in range(150)]
    assert sum(is_made(model, value, prefill=prefill) for value, prefill in values) > 10


def is_made(model, value, **options):
    """Whether a conversation came to a prompt, and to no error of ours."""
    try:
        return bool(prepare(model, Conversation(**value, **options)).prompt)
    except LocalllmError:
        return False


@pytest.mark.parametrize("name", ["required", "auto"])
def test_schemas_of_strangers_are_compiled_or_refused(name):
    rng = random.Random(name)
    model = TemplateModel(template("Qwen-Qwen2.5-7B-Instruct"))
    assert sum(is_made(model, changed(rng) | {"tool_choice": name}) for _ in range(60)) > 5

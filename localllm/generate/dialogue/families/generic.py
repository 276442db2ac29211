"""Calls in the form of Hermes, <tool_call>{"name": ..., "arguments": {...}}</tool_call>, which Qwen 2.5, Qwen 3 and
others use, and which models are told whose template knows no tools (localllm.generate.dialogue.prompts).

What they write instead is taken, too: other tags, JSON alone or in a fence (Qwen2.5-Coder nearly always), and the
Python of Gemma 3's ```tool_code.
"""

from __future__ import annotations

from localllm.generate.dialogue.families import pythonic
from localllm.generate.dialogue.families.json_calls import Read, bare, between, call_list, closing
from localllm.generate.dialogue.reader import Step
from localllm.generate.dialogue.turn import Turn

_FENCE = "```"
_TAGS = ("tool_call", "tools", "function_call")
STARTS = (*(f"<{tag}>" for tag in _TAGS), "```json", "```tool_call", "```tool_code", _FENCE)
_TAGGED: dict[str, Read] = {f"<{tag}>": between(f"<{tag}>", f"</{tag}>") for tag in _TAGS}


def read(turn: Turn) -> Step[None]:
    for start, tagged in _TAGGED.items():
        if (yield from turn.at(start)):
            yield from tagged(turn)
            return
    if (yield from turn.at("```tool_code")):
        yield from pythonic.read_between(turn, "```tool_code", _FENCE)
    elif (yield from turn.at(_FENCE)):
        yield from _fenced(turn)
    else:
        yield from _unmarked(turn)


def _unmarked(turn: Turn) -> Step[None]:
    yield from (call_list if (yield from turn.at("[")) else bare)(turn)


def _fenced(turn: Turn) -> Step[None]:
    for start in ("```json", "```tool_call", _FENCE):
        if (yield from turn.accept(start)):
            break
    yield from turn.space()
    yield from _unmarked(turn)
    yield from closing(turn, _FENCE)

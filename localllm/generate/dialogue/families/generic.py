"""Calls of models whose template knows no tools. They are told the form of Hermes (localllm.generate.dialogue.prompts);
what they write instead is taken, too: JSON alone or in a fence, and the Python of Gemma 3's ```tool_code."""

from __future__ import annotations

from localllm.generate.dialogue.families import pythonic
from localllm.generate.dialogue.families.json_calls import Read, bare, between, call_list, closing
from localllm.generate.dialogue.reader import Step
from localllm.generate.dialogue.turn import Turn

_FENCE = "```"
STARTS = ("<tool_call>", "```json", "```tool_call", "```tool_code")
_TAGGED: Read = between("<tool_call>", "</tool_call>")


def read(turn: Turn) -> Step[None]:
    if (yield from turn.at("<tool_call>")):
        yield from _TAGGED(turn)
    elif (yield from turn.at("```tool_code")):
        yield from pythonic.read_between(turn, "```tool_code", _FENCE)
    elif (yield from turn.at(_FENCE)):
        yield from _fenced(turn)
    else:
        yield from bare(turn)


def _fenced(turn: Turn) -> Step[None]:
    for start in ("```json", "```tool_call"):
        yield from turn.accept(start)
    yield from turn.space()
    if (yield from turn.at("[")):
        yield from call_list(turn)
    else:
        yield from bare(turn)
    yield from closing(turn, _FENCE)

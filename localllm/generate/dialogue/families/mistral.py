"""Mistral's calls: [TOOL_CALLS][{"name": ..., "arguments": ...}], and since the tokenizers of version 11
[TOOL_CALLS]name[ARGS]{...}, with [CALL_ID]id between them in version 11 itself (mistral-common's tokenizers; llama.cpp:
parsers/ministral3.cpp)."""

from __future__ import annotations

import regex

from localllm.generate.dialogue.families.json_calls import call_list
from localllm.generate.dialogue.reader import Step
from localllm.generate.dialogue.turn import Turn

START = "[TOOL_CALLS]"
_NAME = regex.compile(r"[\w.:-]{1,128}")
_ID = regex.compile(r"[\w.:-]{1,64}")


def read(turn: Turn) -> Step[None]:
    yield from turn.accept(START)
    yield from turn.space()
    if (yield from turn.at("[")):
        yield from call_list(turn)
        return
    name = yield from turn.match(_NAME)
    if not turn.knows(name):
        return
    call_id = ""
    if (yield from turn.accept("[CALL_ID]")):
        call_id = yield from turn.match(_ID)
    yield from turn.accept("[ARGS]")
    yield from turn.space()
    if (yield from turn.at("{")):
        turn.begin(name, call_id)
        yield from turn.json_value(turn.arguments)

"""Llama 3's calls: {"name": ..., "parameters": {...}} as the whole answer, or after <|python_tag|>, where also
name.call(argument="text") may stand for built-in tools, or plain code for a tool that runs Python (Meta's model cards,
"Prompt format" of Llama 3.1). Llama 3.2 and 4, and models that were made of them, also write lists: [{...}, {...}] or
[name(argument="text"), ...]. Llama 4 may put its calls after <|python_start|>."""

from __future__ import annotations

from localllm.generate.dialogue.families import pythonic
from localllm.generate.dialogue.families.json_calls import bare, call_list, closing
from localllm.generate.dialogue.reader import Markers, Step, gather
from localllm.generate.dialogue.turn import Turn, json_text

START = "<|python_tag|>"
START_4, END_4 = "<|python_start|>", "<|python_end|>"
_CODE = ("python", "ipython", "code_interpreter")
_NOTHING = Markers([])


def read(turn: Turn) -> Step[None]:
    if not (yield from turn.accept(START)):
        yield from _unmarked(turn)
        return
    yield from turn.space()
    if (yield from turn.at("{")):
        yield from bare(turn)
        return
    _, text = yield from gather(lambda put: turn.until(_NOTHING, put))
    calls = pythonic.parse(text)
    if calls and all(turn.knows(name) for name, _ in calls):
        for name, arguments in calls:
            turn.begin(name)
            turn.arguments(json_text(arguments))
        return
    name = next((name for name in _CODE if turn.knows(name)), "")
    if name:
        key = next(iter(turn.properties(name)), "code")
        turn.begin(name)
        turn.arguments(json_text({key: text}))


def read_llama4(turn: Turn) -> Step[None]:
    yield from turn.accept(START_4)
    yield from closing(turn, END_4)
    yield from turn.space()
    yield from _unmarked(turn, END_4)
    yield from closing(turn, END_4)


def _unmarked(turn: Turn, end: str = "") -> Step[None]:
    if not (yield from turn.at("[")):
        yield from bare(turn)
    elif not (yield from turn.attempt(call_list(turn))):
        yield from pythonic.read_list(turn, end)

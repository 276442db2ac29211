"""Llama 3's calls: {"name": ..., "parameters": {...}} as the whole answer, or after <|python_tag|>, where also
name.call(argument="text") may stand for built-in tools, or plain code for a tool that runs Python (Meta's model cards,
"Prompt format" of Llama 3.1)."""

from __future__ import annotations

from localllm.generate.dialogue.families import pythonic
from localllm.generate.dialogue.families.json_calls import bare
from localllm.generate.dialogue.reader import Markers, Step, gather
from localllm.generate.dialogue.turn import Turn, json_text

START = "<|python_tag|>"
_CODE = ("python", "ipython", "code_interpreter")
_NOTHING = Markers([])


def read(turn: Turn) -> Step[None]:
    if not (yield from turn.accept(START)):
        yield from bare(turn)
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

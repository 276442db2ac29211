"""DeepSeek's calls. V3 and R1 write a list of

<｜tool▁call▁begin｜>function<｜tool▁sep｜>name
```json
{...}
```<｜tool▁call▁end｜>

V3.1 writes name<｜tool▁sep｜>{...}; V3.2 has tags of its own (DSML; llama.cpp: parsers/deepseek.cpp).
"""

from __future__ import annotations

import regex

from localllm.generate.dialogue.families import invoke
from localllm.generate.dialogue.families.json_calls import closing, repeated
from localllm.generate.dialogue.reader import Step
from localllm.generate.dialogue.turn import Turn

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, SEPARATOR, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_NAME = regex.compile(r"[\w.:-]{1,128}")

DSML = "｜DSML｜"
_DSML = tuple(
    invoke.Tags(f"{DSML}{section}", f"{DSML}invoke", f"{DSML}parameter", is_typed=True)
    for section in ("function_calls", "tool_calls")
)


def read(turn: Turn) -> Step[None]:
    """A section of calls; its markers may be missing."""
    yield from turn.accept(CALLS)
    yield from repeated(turn, _call)
    yield from closing(turn, CALLS_END)


def _call(turn: Turn) -> Step[None]:
    yield from turn.space()
    if not (yield from turn.accept(CALL)):
        return
    name = yield from turn.match(_NAME)
    if not (yield from turn.accept(SEPARATOR)):
        return
    if name == "function" and not (yield from turn.at("{")):  # the form of V3
        name = yield from turn.match(_NAME)
    yield from turn.space()
    fenced = yield from turn.accept("```json")
    yield from turn.space()
    if not turn.knows(name) or not (yield from turn.at("{")):
        return
    turn.begin(name)
    yield from turn.json_value(turn.arguments)
    if fenced:
        yield from closing(turn, "```")
    yield from closing(turn, CALL_END)


def read_dsml(turn: Turn) -> Step[None]:
    """A section of V3.2 (function_calls) or V4 (tool_calls)."""
    for tags in _DSML:
        if (yield from turn.at(f"<{tags.outer}>")):
            yield from invoke.read(turn, tags)
            return

"""DeepSeek's calls. V3 and R1 write a list of

<｜tool▁call▁begin｜>function<｜tool▁sep｜>name
```json
{...}
```<｜tool▁call▁end｜>

V3.1 writes name<｜tool▁sep｜>{...}; V3.2 has tags of its own (DSML; llama.cpp: parsers/deepseek.cpp).
"""

from __future__ import annotations

import regex

from localllm.generate.dialogue.families.json_calls import closing, repeated
from localllm.generate.dialogue.families.tagged import Arguments
from localllm.generate.dialogue.reader import Markers, Step
from localllm.generate.dialogue.turn import Turn

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, SEPARATOR, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_NAME = regex.compile(r"[\w.:-]{1,128}")

DSML = "｜DSML｜"
_INVOKE = f'<{DSML}invoke name="'
_PARAMETER, _PARAMETER_END = f'<{DSML}parameter name="', Markers([f"</{DSML}parameter>"])
_QUOTED = regex.compile(r'[^"<>]{1,128}')


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
    for section in ("function_calls", "tool_calls"):
        if (yield from turn.accept(f"<{DSML}{section}>")):
            break
    else:
        return
    yield from repeated(turn, _invoke)
    yield from closing(turn, f"</{DSML}{section}>")


def _invoke(turn: Turn) -> Step[None]:
    yield from turn.space()
    if not (yield from turn.accept(_INVOKE)):
        return
    name = yield from turn.match(_QUOTED)
    if not turn.knows(name) or not (yield from turn.accept('">')):
        return
    turn.begin(name)
    writer = Arguments(turn, name)
    while (yield from turn.after_space(_PARAMETER)):
        yield from turn.space()
        yield from turn.accept(_PARAMETER)
        argument = yield from turn.match(_QUOTED)
        if not (yield from turn.accept('" string="')):
            return
        is_text = yield from turn.accept("true")
        yield from turn.accept("false")
        yield from turn.accept('">')
        writer.begin(argument, is_text)
        if not (yield from turn.until(_PARAMETER_END, writer.text, keep_space=True)):
            return
        yield from turn.accept(_PARAMETER_END.texts[0])
        writer.end()
    if not turn.ended or (yield from turn.after_space(f"</{DSML}invoke>")):
        writer.finish()
    yield from closing(turn, f"</{DSML}invoke>")

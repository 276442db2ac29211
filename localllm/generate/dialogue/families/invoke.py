"""Calls with a tag for each argument, whose names stand in quotes:

<invoke name="function"><parameter name="argument">value</parameter></invoke>

MiniMax M2 and MiniCPM 5 write so, and DeepSeek V3.2 with tags of its own (llama.cpp: parsers/minicpm5.cpp and
deepseek.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import regex

from localllm.generate.dialogue.families.json_calls import closing, repeated
from localllm.generate.dialogue.families.tagged import Arguments
from localllm.generate.dialogue.reader import Markers, Step
from localllm.generate.dialogue.turn import Turn

_QUOTED = regex.compile(r'[^"<>]{1,128}')
_CDATA, _CDATA_END = "<![CDATA[", "]]>"


@dataclass(frozen=True)
class Tags:
    """Names of tags, without their brackets; `outer` stands around all calls, "" where nothing does."""

    outer: str
    call: str
    argument: str
    is_typed: bool = False
    """Each argument says whether it is a text: string="true"."""


def read(turn: Turn, tags: Tags) -> Step[None]:
    """One or more calls."""
    if tags.outer and not (yield from turn.accept(f"<{tags.outer}>")):
        return
    yield from repeated(turn, partial(_call, tags=tags))
    if tags.outer:
        yield from closing(turn, f"</{tags.outer}>")


def _call(turn: Turn, tags: Tags) -> Step[None]:
    yield from turn.space()
    if not (yield from turn.accept(f'<{tags.call} name="')):
        return
    name = yield from turn.match(_QUOTED)
    if not turn.knows(name) or not (yield from turn.accept('">')):
        return
    turn.begin(name)
    writer, start = Arguments(turn, name), f'<{tags.argument} name="'
    while (yield from turn.after_space(start)):
        yield from turn.space()
        yield from turn.accept(start)
        if not (yield from _argument(turn, writer, tags)):
            return
    if not turn.ended or (yield from turn.after_space(f"</{tags.call}>")):
        writer.finish()
    yield from closing(turn, f"</{tags.call}>")


def _argument(turn: Turn, writer: Arguments, tags: Tags) -> Step[bool]:
    """From its name on; False where it breaks off."""
    argument = yield from turn.match(_QUOTED)
    is_text = None
    if tags.is_typed:
        if not (yield from turn.accept('" string="')):
            return False
        is_text = yield from turn.accept("true")
        yield from turn.accept("false")
    yield from turn.accept('">')
    writer.begin(argument, is_text)
    end = f"</{tags.argument}>"
    if (yield from turn.accept(_CDATA)):
        if not (yield from turn.until(Markers([_CDATA_END]), writer.text, keep_space=True)):
            return False
        yield from turn.accept(_CDATA_END)
    elif not (yield from turn.until(Markers([end]), writer.text, keep_space=True)):
        return False
    yield from turn.accept(end)
    writer.end()
    return True

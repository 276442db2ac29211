"""Calls of families that take a few lines each: GLM 4, Functionary 3.1, Kimi K2 (llama.cpp: parsers/kimi-k2.cpp, and
the templates of these models)."""

from __future__ import annotations

import regex

from localllm.generate.dialogue.families.json_calls import closing, repeated
from localllm.generate.dialogue.families.tagged import Arguments
from localllm.generate.dialogue.reader import Markers, Step, gather
from localllm.generate.dialogue.turn import Turn

_NAME = regex.compile(r"[\w.-]{1,128}")
_KEY_END, _VALUE_END = Markers(["</arg_key>"]), Markers(["</arg_value>"])

SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, ARGUMENTS, CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_KIMI_ID = regex.compile(r"functions\.[\w.-]{1,128}:\d{1,6}")


def read_glm(turn: Turn) -> Step[None]:
    """<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>"""
    yield from turn.accept("<tool_call>")
    name = yield from turn.match(_NAME)
    if not turn.knows(name) or not (yield from turn.after_space("<arg_key>", "</tool_call>")):
        return
    turn.begin(name)
    writer = Arguments(turn, name)
    while (yield from turn.after_space("<arg_key>")):
        yield from turn.space()
        yield from turn.accept("<arg_key>")
        _, key = yield from gather(lambda put: turn.until(_KEY_END, put, keep_space=True))
        yield from turn.accept("</arg_key>")
        yield from turn.space()
        if not (yield from turn.accept("<arg_value>")):
            return
        writer.begin(key.strip())
        if not (yield from turn.until(_VALUE_END, writer.text, keep_space=True)):
            return
        yield from turn.accept("</arg_value>")
        writer.end()
    if not turn.ended or (yield from turn.after_space("</tool_call>")):
        writer.finish()
    yield from closing(turn, "</tool_call>")


def read_functionary(turn: Turn) -> Step[None]:
    """<function=name>{...}</function>"""
    yield from turn.accept("<function=")
    name = yield from turn.match(_NAME)
    if turn.knows(name) and (yield from turn.accept(">")) and (yield from turn.after_space("{")):
        yield from turn.space()
        turn.begin(name)
        yield from turn.json_value(turn.arguments)
        yield from closing(turn, "</function>")


def read_kimi(turn: Turn) -> Step[None]:
    """<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|>, in a section or not."""
    yield from turn.accept(SECTION)
    yield from repeated(turn, _kimi_call)
    yield from closing(turn, SECTION_END)


def _kimi_call(turn: Turn) -> Step[None]:
    yield from turn.space()
    if not (yield from turn.accept(CALL)):
        return
    call_id = yield from turn.match(_KIMI_ID)
    name = call_id.removeprefix("functions.").rpartition(":")[0]
    if not turn.knows(name) or not (yield from turn.accept(ARGUMENTS)) or not (yield from turn.at("{")):
        return
    turn.begin(name, call_id)
    yield from turn.json_value(turn.arguments)
    yield from closing(turn, CALL_END)

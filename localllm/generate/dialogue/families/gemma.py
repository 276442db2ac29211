"""Gemma 4's calls: <|tool_call>call:name{key:<|"|>text<|"|>,other:[1,true]}<tool_call|>, whose values are JSON but for
texts, which stand between <|"|>, and keys, which stand as they are (llama.cpp: parsers/gemma4.cpp). Those of
FunctionGemma have other marks: <start_function_call>call:name{key:<escape>text<escape>}<end_function_call>."""

from __future__ import annotations

import regex

from localllm.generate.dialogue.families.json_calls import closing
from localllm.generate.dialogue.reader import Markers, Step
from localllm.generate.dialogue.turn import Turn, escaped, json_text

START, END, QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
FUNCTION_START, FUNCTION_END, ESCAPE = "<start_function_call>", "<end_function_call>", "<escape>"
_NAME = regex.compile(r"[\w.:-]{1,128}")
_KEY = regex.compile(r"[^:{}\[\]<>\"]{1,256}")
_BRACKETS = {"{": "}", "[": "]"}
_MAX_DEPTH = 128


def read(turn: Turn, start: str = START, end: str = END, quote: str = QUOTE) -> Step[None]:
    """One call."""
    yield from turn.accept(start)
    if not (yield from turn.accept("call:")):
        return
    name = yield from turn.match(_NAME)
    if not turn.knows(name) or not (yield from turn.at("{")):
        return
    turn.begin(name)
    yield from _value(turn, quote, 0)
    yield from closing(turn, end)


def _value(turn: Turn, quote: str, depth: int) -> Step[bool]:
    """One value, written as JSON; False where it breaks off."""
    for bracket in _BRACKETS:
        if (yield from turn.at(bracket)):
            return depth < _MAX_DEPTH and (yield from _container(turn, turn.take(1), quote, depth))
    if not (yield from turn.accept(quote)):
        return (yield from turn.json_value(turn.arguments))
    turn.arguments('"')
    if not (yield from turn.until(Markers([quote]), lambda text: turn.arguments(escaped(text)), keep_space=True)):
        return False
    yield from turn.accept(quote)
    turn.arguments('"')
    return True


def _container(turn: Turn, bracket: str, quote: str, depth: int) -> Step[bool]:
    turn.arguments(bracket)
    yield from turn.space()
    first = True
    while not (yield from turn.accept(_BRACKETS[bracket])):
        if not first:
            if not (yield from turn.accept(",")):
                return False
            turn.arguments(", ")
            yield from turn.space()
        if bracket == "{" and not (yield from _key(turn)):
            return False
        if not (yield from _value(turn, quote, depth + 1)):
            return False
        yield from turn.space()
        first = False
    turn.arguments(_BRACKETS[bracket])
    return True


def _key(turn: Turn) -> Step[bool]:
    quoted = yield from turn.at('"')
    if quoted:
        written = yield from turn.json_value(turn.arguments)
    else:
        key = yield from turn.match(_KEY)
        turn.arguments(json_text(key))
        written = bool(key)
    if not written or not (yield from turn.accept(":")):
        return False
    turn.arguments(": ")
    yield from turn.space()
    return True

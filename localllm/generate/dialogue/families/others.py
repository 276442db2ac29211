"""Calls of families that take a few lines each: GLM 4, Hunyuan 3, Functionary 3.1, Kimi K2, Apertus, MiniMax M1,
GigaChat 3 (llama.cpp: parsers/kimi-k2.cpp, gigachat-v3.cpp, and the templates of these models)."""

from __future__ import annotations

from functools import partial

import regex

from localllm.generate.dialogue.families.json_calls import bare, call_list, call_object, closing, repeated
from localllm.generate.dialogue.families.tagged import Arguments
from localllm.generate.dialogue.reader import Markers, Step, gather
from localllm.generate.dialogue.turn import Turn

_NAME = regex.compile(r"[\w.-]{1,128}")

SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, ARGUMENTS, CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_KIMI_ID = regex.compile(r"functions\.[\w.-]{1,128}:\d{1,6}")


def read_glm(turn: Turn) -> Step[None]:
    """<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>"""
    yield from _tagged_call(turn, "")


HY3 = ":opensource"
"""What the names of Hunyuan 3's tags end with."""


def read_hy3(turn: Turn) -> Step[None]:
    """Calls as GLM's, with a mark behind the function's name, in a section."""
    yield from turn.accept(f"<tool_calls{HY3}>")
    yield from repeated(turn, partial(_tagged_call, ending=HY3))
    yield from closing(turn, f"</tool_calls{HY3}>")


def _tagged_call(turn: Turn, ending: str) -> Step[None]:
    """ending: of the tags' names."""
    key_start, key_end = f"<arg_key{ending}>", f"</arg_key{ending}>"
    value_start, value_end = f"<arg_value{ending}>", f"</arg_value{ending}>"
    call_end = f"</tool_call{ending}>"
    yield from turn.space()
    if not (yield from turn.accept(f"<tool_call{ending}>")):
        return
    name = yield from turn.match(_NAME)
    yield from turn.accept(f"<tool_sep{ending}>")
    if not turn.knows(name) or not (yield from turn.after_space(key_start, call_end)):
        return
    turn.begin(name)
    writer = Arguments(turn, name)
    while (yield from turn.after_space(key_start)):
        yield from turn.space()
        yield from turn.accept(key_start)
        _, key = yield from gather(lambda put: turn.until(Markers([key_end]), put, keep_space=True))
        yield from turn.accept(key_end)
        yield from turn.space()
        if not (yield from turn.accept(value_start)):
            return
        writer.begin(key.strip())
        if not (yield from turn.until(Markers([value_end]), writer.text, keep_space=True)):
            return
        yield from turn.accept(value_end)
        writer.end()
    if not turn.ended or (yield from turn.after_space(call_end)):
        writer.finish()
    yield from closing(turn, call_end)


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


TOOL_CALLS = "<tool_calls>"


def read_tool_calls(turn: Turn) -> Step[None]:
    """<tool_calls>[{...}, {...}]</tool_calls>, or an object a line."""
    yield from turn.accept(TOOL_CALLS)
    yield from turn.space()
    yield from (call_list if (yield from turn.at("[")) else bare)(turn)
    yield from closing(turn, "</tool_calls>")


GIGACHAT, GIGACHAT_3, GIGACHAT_END = "<|function_call|>", "function call<|role_sep|>", "<|message_sep|>"


def read_gigachat(turn: Turn) -> Step[None]:
    """<|function_call|>{...}, or in 3.0 a message of its own: <|message_sep|>, function call<|role_sep|>, {...}"""
    yield from turn.accept(GIGACHAT_END)
    yield from turn.space()
    if (yield from turn.accept(GIGACHAT)) or (yield from turn.accept(GIGACHAT_3)):
        yield from turn.space()
        yield from call_object(turn)
        yield from closing(turn, GIGACHAT_END)


APERTUS, APERTUS_END = "<|tools_prefix|>", "<|tools_suffix|>"


def read_apertus(turn: Turn) -> Step[None]:
    """<|tools_prefix|>[{"name": {...}}, {"other": {...}}]<|tools_suffix|>"""
    yield from turn.accept(APERTUS)
    yield from turn.space()
    if (yield from turn.accept("[")):
        yield from repeated(turn, _by_name, _next_by_name)
        yield from closing(turn, "]")
        yield from closing(turn, APERTUS_END)


def _next_by_name(turn: Turn) -> Step[None]:
    yield from turn.space()
    if (yield from turn.accept(",")):
        yield from _by_name(turn)


def _by_name(turn: Turn) -> Step[None]:
    yield from turn.space()
    if not (yield from turn.accept("{")):
        return
    yield from turn.space()
    if not (yield from turn.accept('"')):
        return
    name = yield from turn.match(_NAME)
    if not turn.knows(name) or not (yield from turn.accept('"')) or not (yield from turn.after_space(":")):
        return
    yield from turn.space()
    yield from turn.accept(":")
    yield from turn.space()
    if (yield from turn.at("{")):
        turn.begin(name)
        yield from turn.json_value(turn.arguments)
        yield from closing(turn, "}")

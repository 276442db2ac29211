"""Calls as JSON: {"name": ..., "arguments": {...}}, alone, in lists, between markers."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from localllm.generate.dialogue.reader import Step, gather
from localllm.generate.dialogue.turn import Turn

Read = Callable[[Turn], Step[None]]
"""Reads calls that may begin here. It announces each (Turn.begin) once it is certain; if it announces none, what it
read is content."""

_NAMES = ("name", "tool_name", "function")
_ARGUMENTS = ("arguments", "parameters")


def between(start: str, end: str = "") -> Read:
    """One call between two markers; the end may be missing."""
    return partial(_between, start=start, end=end)


def list_between(*starts: str, end: str = "") -> Read:
    """A list of calls between one of some markers and another; the end may be missing."""
    return partial(_list_between, starts=starts, end=end)


def repeated(turn: Turn, first: Read, following: Read | None = None) -> Step[None]:
    """One call, and as many more as follow it."""
    before = turn.count
    yield from first(turn)
    while turn.count > before and (yield from turn.attempt((following or first)(turn))):
        pass


def bare(turn: Turn) -> Step[None]:
    """Calls without any marker, one after the other, with white space or semicolons between them."""
    yield from repeated(turn, call_object, _next_bare)


def _next_bare(turn: Turn) -> Step[None]:
    yield from turn.space()
    yield from turn.accept(";")
    yield from turn.space()
    yield from call_object(turn)


def _between(turn: Turn, start: str, end: str) -> Step[None]:
    yield from turn.accept(start)
    yield from turn.space()
    yield from call_object(turn)
    yield from closing(turn, end)


def closing(turn: Turn, end: str) -> Step[None]:
    """Take `end`, and white space before it, if it follows."""
    if end and (yield from turn.after_space(end)):
        yield from turn.space()
        yield from turn.accept(end)


def _list_between(turn: Turn, starts: tuple[str, ...], end: str) -> Step[None]:
    for start in starts:
        yield from turn.accept(start)
    yield from turn.space()
    yield from call_list(turn)
    yield from closing(turn, end)


def call_list(turn: Turn) -> Step[None]:
    """[{...}, {...}]"""
    before = turn.count
    if not (yield from turn.accept("[")):
        return
    yield from turn.space()
    yield from repeated(turn, call_object, _next_item)
    if turn.count > before:
        yield from closing(turn, "]")


def _next_item(turn: Turn) -> Step[None]:
    yield from turn.space()
    if (yield from turn.accept(",")):
        yield from turn.space()
        yield from call_object(turn)


class _Found:
    """What is known of a call while its object is read."""

    def __init__(self) -> None:
        self.name = ""
        self.arguments: str | None = None
        self.begun = False


def call_object(turn: Turn) -> Step[None]:
    """One object with a name and arguments, in whatever order; arguments may also be JSON within a string.

    A call is certain where its arguments begin after its name, or where the object ends. Ids of the model's own are not
    taken: they begin anew in each message.
    """
    found = _Found()
    if (yield from _members(turn, found)) and not found.begun and turn.knows(found.name):
        turn.begin(found.name)
        turn.arguments(found.arguments or "{}")


def _members(turn: Turn, found: _Found) -> Step[bool]:
    """The members of an object; whether it was complete, or a call was begun."""
    if not (yield from turn.accept("{")):
        return False
    while True:
        yield from turn.space()
        if (yield from turn.accept("}")):
            return True
        if not (yield from turn.at('"')):
            return found.begun
        _, key = yield from gather(turn.json_value)
        yield from turn.space()
        if not (yield from turn.accept(":")):
            return found.begun
        yield from turn.space()
        if not (yield from _member(turn, found, _text(key))):
            return found.begun
        if found.begun:
            yield from _rest(turn)
            return True
        yield from turn.space()
        yield from turn.accept(",")


def _member(turn: Turn, found: _Found, key: str) -> Step[bool]:
    """One member's value; whether the object can still be a call."""
    if key in _ARGUMENTS:
        return (yield from _arguments(turn, found))
    if key == "function" and (yield from turn.at("{")):  # as OpenAI nests them
        return (yield from _members(turn, found))
    complete, raw = yield from gather(turn.json_value)
    if key in _NAMES and not found.name:
        found.name = _text(raw)
        return complete and turn.knows(found.name)
    return complete


def _arguments(turn: Turn, found: _Found) -> Step[bool]:
    if (yield from turn.at("{")):
        if not found.name:
            complete, found.arguments = yield from gather(turn.json_value)
            return complete
        turn.begin(found.name)
        found.begun = True
        yield from turn.json_value(turn.arguments)
        return True
    complete, raw = yield from gather(turn.json_value)
    inner = _text(raw)
    if complete and (raw == "null" or inner.lstrip().startswith("{")):
        found.arguments = inner or "{}"
        return True
    return False


def _rest(turn: Turn) -> Step[None]:
    """Members after the arguments are skipped as long as they are well-formed."""
    while (yield from turn.attempt(_skipped_member(turn))):
        pass
    yield from closing(turn, "}")


def _skipped_member(turn: Turn) -> Step[None]:
    yield from turn.space()
    if not (yield from turn.accept(",")):
        return
    yield from turn.space()
    if not (yield from turn.at('"')):
        return
    yield from gather(turn.json_value)
    yield from turn.space()
    if (yield from turn.accept(":")):
        yield from turn.space()
        if (yield from gather(turn.json_value))[0]:
            turn.commit()


def _text(raw: str) -> str:
    """The text of a JSON string; "" of anything else."""
    try:
        value = json.loads(raw)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""

"""Calls in Python's syntax: name(argument=value, ...)."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from localllm.generate.dialogue.reader import Markers, Step, gather
from localllm.generate.dialogue.turn import Turn, json_text

MAX_TEXT = 1 << 16
"""Characters of the calls that are read together; Python's own parser is asked, whose depth is bounded."""
_NAME = re.compile(r"[\w.]{1,128}\Z")


def read_between(turn: Turn, start: str, end: str) -> Step[None]:
    """Calls, separated by line feeds or in a list, between two markers. They are given out together."""
    yield from turn.accept(start)
    _, text = yield from gather(lambda put: turn.until(Markers([end]), put, keep_space=True))
    calls = _known(turn, text)
    if calls and (yield from turn.accept(end)):
        _give(turn, calls)


def read_list(turn: Turn, end: str = "") -> Step[None]:
    """Calls in a list that is the rest of the answer, or all up to `end`."""
    _, text = yield from gather(lambda put: turn.until(Markers([end]), put))
    _give(turn, _known(turn, text))


def _known(turn: Turn, text: str) -> list[tuple[str, dict[str, Any]]]:
    """The calls in a text; none, if one of them is of no tool."""
    calls = parse(text)
    return calls if all(turn.knows(name) for name, _ in calls) else []


def _give(turn: Turn, calls: list[tuple[str, dict[str, Any]]]) -> None:
    for name, arguments in calls:
        turn.begin(name)
        turn.arguments(json_text(arguments))


def parse(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and arguments of the calls that a text consists of; none, if it is anything else."""
    if len(text) > MAX_TEXT:
        return []
    for python in (text.strip(), _QUOTED.sub(_in_one_line, text.strip())):
        try:
            return [_call(node) for statement in ast.parse(python).body for node in _nodes(statement)]
        except (SyntaxError, ValueError, MemoryError, RecursionError, TypeError):
            pass
    return []


def _in_one_line(quoted: re.Match[str]) -> str:
    """Line feeds within quotes, which Python does not take, as it writes them: LFM2.5 leaves them as they are."""
    return quoted[0].replace("\n", "\\n")


_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def _nodes(statement: ast.stmt) -> list[ast.expr]:
    if not isinstance(statement, ast.Expr):
        raise ValueError("no call")
    value = statement.value
    return value.elts if isinstance(value, ast.List | ast.Tuple) else [value]


def _call(node: ast.expr) -> tuple[str, dict[str, Any]]:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("no call with arguments by name")
    name = ast.unparse(node.func)
    if name == "print":
        raise ValueError("no tool")
    arguments = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("arguments have no names")
        arguments[keyword.arg] = _plain(ast.literal_eval(keyword.value))
    if not _NAME.match(name):
        raise ValueError("no name")
    return name.removesuffix(".call"), arguments


def _plain(value: object) -> object:
    """A Python value as JSON has it; ValueError for what it has not."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and abs(value) < float("inf")):
        return value
    raise ValueError("not in JSON")

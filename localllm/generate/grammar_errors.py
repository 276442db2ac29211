"""What llguidance says about a grammar, in one line, with the place in the user's own source."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from localllm.errors import GrammarError
from localllm.generate.grammar_input import NAMES, Grammar, escaped

if TYPE_CHECKING:
    from llguidance import LLParserLimits

DEAD_END = "NoExtensionBias"
"""llguidance's word for a place where no token of the vocabulary leads on."""
_SEARCH_SECONDS = 0.3
"""For the place of an error in a schema; then the place found so far is told."""
_LONGEST = 300

_LARK_PLACE = re.compile(r"(?:at )?(\d+)\((\d+)\): (.*)", re.DOTALL)
_EXCERPT = re.compile(r"\n +\d+ \| .*", re.DOTALL)
_REGEX = re.compile(
    r"(?:invalid regex (?P<regex>\".*\")(?: \(in regex\))?: )?regex parse error:\n.*error: (?P<what>.*)", re.DOTALL
)
_CARET = re.compile(r"regex parse error:\n    .*\n    ( *)\^")
_REQUIRED = re.compile(r"Unsatisfiable schema: required property '(.*)' is unsatisfiable")
_SAID_OTHERWISE = (
    (re.compile(r"^Unsatisfiable schema: (.*)", re.DOTALL), r"no value meets it: \1"),
    (re.compile(r"^Unimplemented keys: \[(.*)\]$"), r"keywords that are not supported: \1"),
    (
        re.compile(r"^(schema too large|.*fuel exhausted.*|panic: .*|lexer precomputation failed.*)$", re.DOTALL),
        r"it is too complex (\1)",
    ),
)


def explained(grammar: Grammar, source: str, message: str, limits: LLParserLimits) -> GrammarError:
    """message: llguidance's; source: what it was given."""
    message = message.split("\n<")[0].strip()
    name = NAMES[grammar.kind]
    if message.startswith(DEAD_END):
        return GrammarError(name, "", "no token of this model can begin a text that meets it")
    if grammar.kind in ("json_schema", "json"):
        where, message = _found_in_schema(json.loads(grammar.source or "{}"), source, message, limits)
        return GrammarError(name, where, _plain(message))
    found = _LARK_PLACE.match(message)
    what = _EXCERPT.sub("", found[3] if found else message)
    if grammar.kind == "regex":
        caret = _CARET.search(what)
        column = f"column {len(caret[1]) + 1}" if caret and "\n" not in grammar.source else ""
        return GrammarError(name, column, _plain(what, with_regex=False))
    if not found:
        return GrammarError(name, "", _plain(what))
    if grammar.kind == "gbnf":
        return GrammarError(name, _gbnf_line(grammar.source, source, int(found[1])), _plain(what))
    return GrammarError(name, f"line {found[1]}, column {found[2]}", _plain(what))


def _plain(message: str, with_regex: bool = True) -> str:
    if found := _REGEX.search(message):
        of = f"regular expression {found['regex']:.80}: " if with_regex and found["regex"] else ""
        message = of + found["what"]
    for pattern, replacement in _SAID_OTHERWISE:
        message = pattern.sub(replacement, message)
    return " ".join(message.split())[:_LONGEST]


def _gbnf_line(gbnf: str, lark: str, line: int) -> str:
    """The line of the rule that became a line of the converted grammar, whose names tell its number."""
    found = re.match(r"[A-Za-z]+(\d+)", lark.split("\n")[line - 1])
    starts = [m.start(1) for m in re.finditer(r"^\s*([A-Za-z0-9-]+)\s*::=", gbnf, re.MULTILINE)]
    if not found or int(found[1]) >= len(starts):
        return ""
    return f"line {gbnf.count(chr(10), 0, starts[int(found[1])]) + 1}"


def _found_in_schema(schema: Any, source: str, message: str, limits: LLParserLimits) -> tuple[str, str]:
    """JSON pointer of the innermost schema that has the error by itself, and llguidance's message about that."""
    import llguidance

    options = json.loads(source)["grammars"][0]["json_schema"]["x-guidance"]
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    deadline = time.perf_counter() + _SEARCH_SECONDS

    def error_of(child: Any) -> str:
        if not isinstance(child, dict):
            return "Unsatisfiable schema: schema is false" if child is False else ""
        alone = json.dumps({"grammars": [{"json_schema": shared | child | {"x-guidance": options}}]})
        _, messages = llguidance.LLMatcher.validate_grammar_with_warnings(alone, limits=limits)
        return messages[0] if _ and messages else ""

    where = ""
    while time.perf_counter() < deadline:
        required = _REQUIRED.match(message)
        for pointer, child in _subschemas(schema):
            inner = error_of(child)
            if inner and (inner == message or (required and pointer == f"/properties/{escaped(required[1])}")):
                where, schema, message = where + pointer, child, inner
                break
        else:
            break
    return where, message


_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_LISTED = ("prefixItems", "anyOf", "oneOf", "allOf")
_NAMED = ("$defs", "definitions", "properties", "patternProperties")


def _subschemas(schema: Any) -> Iterator[tuple[str, Any]]:
    """(pointer, schema) of what a schema is made of."""
    if not isinstance(schema, dict):
        return
    for key in _NAMED:
        if isinstance(schema.get(key), dict):
            yield from ((f"/{key}/{escaped(name)}", child) for name, child in schema[key].items())
    for key in _LISTED:
        if isinstance(schema.get(key), list):
            yield from ((f"/{key}/{i}", child) for i, child in enumerate(schema[key]))
    yield from ((f"/{key}", schema[key]) for key in _ONE if key in schema)

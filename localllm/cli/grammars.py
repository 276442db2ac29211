"""Options that hold an answer to a grammar."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from localllm.cli.questions import read_text
from localllm.errors import FileError, UsageError

if TYPE_CHECKING:
    from localllm.generate.grammar import Grammar

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "json": (("--json",), {"is_flag": True, "help": "The answer is a JSON object."}),
    "json_schema": (
        ("--json-schema", "-j", "-jf", "--json-schema-file"),
        {"metavar": "FILE|TEXT", "help": "The answer is JSON that meets this JSON schema."},
    ),
    "regex": (("--regex",), {"metavar": "REGEX", "help": "The answer matches this regular expression, all of it."}),
    "grammar": (
        ("--grammar", "--grammar-file"),
        {"metavar": "FILE|TEXT", "help": "The answer meets this grammar: llama.cpp's GBNF, or Lark's."},
    ),
}  # fmt: skip
"""Parameter name -> options (ours, llama.cpp's), settings for click. All need llguidance (localllm[structured])."""

_LONGEST_NAME = 4096
"""Longer texts are no names of files."""


def grammar_options(function: _Command) -> _Command:
    """A decorator that adds them to a command."""
    for name, (flags, settings) in reversed(_OPTIONS.items()):
        function = click.option(name, *flags, **settings)(function)
    return function


def grammar_of(given: Mapping[str, Any]) -> Grammar | None:
    """The grammar that the options name, None for none. Raises UsageError for two, GrammarError, FileError."""
    from localllm.generate.grammar_input import Grammar

    named = [name for name in _OPTIONS if given[name] not in (None, False)]
    if len(named) > 1:
        first, second = (_OPTIONS[name][0][0] for name in named[:2])
        raise UsageError(f"{first} and {second}: an answer is held to one of them")
    if not named:
        return None
    value = given[named[0]]
    if named[0] == "json":
        return Grammar("json")
    if named[0] == "regex":
        return Grammar("regex", value)
    text = _text_of(value, "{" if named[0] == "json_schema" else "", _OPTIONS[named[0]][0][0])
    if named[0] == "json_schema":
        return Grammar("json_schema", text)
    return Grammar("gbnf" if "::=" in text else "lark", text)


def _text_of(value: str, begin: str, flag: str) -> str:
    """A text that is given, or stands in a file that is named."""
    if (begin and value.lstrip().startswith(begin)) or "\n" in value or re.search(r"::=|^\s*start\s*:", value):
        return value
    if len(value) > _LONGEST_NAME or "\0" in value or not os.path.exists(value):
        raise FileError(f"{flag} {value!r:.80}: is neither the text itself nor a file that is there")
    return read_text(value, flag)

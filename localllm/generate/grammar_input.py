"""What a grammar is given as, and what it may cost.

Grammars come from strangers: each of these limits has an input that would run away. llguidance bounds regular
expressions and parsers by fuel, which is counted work; what it does not bound is the size of what it is given.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from localllm.errors import GrammarError

if TYPE_CHECKING:
    from llguidance import LLParserLimits

Kind = Literal["json_schema", "json", "regex", "lark", "gbnf", "llguidance"]
KINDS: tuple[str, ...] = get_args(Kind)


MAX_BYTES = 64 * 1024
"""Of a source, without the JSON schemas in it."""
MAX_SCHEMA_BYTES = 256 * 1024
"""Of a JSON schema, and of a grammar with schemas in it."""
MAX_COMPILED = 32
"""Grammars of one vocabulary that are kept."""

NAMES = {
    "json_schema": "JSON schema", "json": "JSON", "regex": "regular expression", "lark": "Lark grammar",
    "gbnf": "GBNF grammar", "llguidance": "grammar",
}  # fmt: skip
"""Of the kinds, in messages."""


@dataclass(frozen=True)
class Grammar:
    """What an answer may be, as a text of some kind.

    kind and source: "json_schema", a schema (draft 2020-12) as JSON text; "json", any JSON value ("value") or any
    object ("object" or ""); "regex", which the whole answer matches (the syntax is that of Rust's regex package);
    "lark", llguidance's variant of Lark's grammars (its docs/syntax.md); "gbnf", llama.cpp's (its grammars/README.md);
    "llguidance", several of these by name, as JSON text: {"grammars": [{"name": ..., "lark_grammar": ...}, ...]}.
    Raises GrammarError for another kind, and for a source that is too long.
    """

    kind: Kind
    source: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GrammarError(f"grammar of the kind {self.kind!r:.40}", "", f"the kinds are {', '.join(KINDS)}")
        _check_source(self.kind, self.source)


def parser_limits() -> LLParserLimits:
    """llguidance's limits.

    initial_lexer_fuel: regular expressions, when they are compiled (20 ms). step_lexer_fuel and step_max_items: a mask
    (15 ms and 3 ms). max_items_in_row: alternatives at one place. max_lexer_states: 1 to 2 kB each. max_grammar_size:
    symbols.
    """
    import llguidance

    return llguidance.LLParserLimits(
        initial_lexer_fuel=1_000_000, step_lexer_fuel=200_000, step_max_items=50_000, max_items_in_row=2_000,
        max_lexer_states=10_000, max_grammar_size=200_000, verbose_errors=False,
    )  # fmt: skip


def _check_source(kind: str, source: str) -> None:
    name = NAMES[kind]
    try:
        size = len(source.encode())
    except UnicodeEncodeError as error:
        raise GrammarError(name, f"character {error.start + 1}", "is half of a character (a surrogate)") from None
    most = MAX_BYTES if kind in ("regex", "gbnf", "json") else MAX_SCHEMA_BYTES
    if size > most:
        raise GrammarError(name, "", f"has {size} bytes: at most {most} are taken")
    if "\0" in source:
        raise GrammarError(name, f"character {source.index(chr(0)) + 1}", "is NUL, which no grammar may hold")


def parse_json(kind: str, source: str) -> Any:
    """JSON text, checked for its size and depth; GrammarError says where it is wrong."""
    name = NAMES[kind]

    def refuse(text: str) -> Any:
        raise GrammarError(name, "", f"holds {text:.40}, which is no number of JSON, or too large for one")

    def real(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse(text)

    try:
        value = json.loads(source, parse_constant=refuse, parse_float=real)
    except json.JSONDecodeError as error:
        raise GrammarError(name, f"line {error.lineno}, column {error.colno}", f"no valid JSON: {error.msg}") from None
    except (RecursionError, ValueError):  # ValueError: an integer of thousands of digits
        raise GrammarError(name, "", "is nested too deeply, or has a number too long") from None
    return value


def escaped(key: str) -> str:
    """A member's name in a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")

"""From a grammar's source to llguidance's matcher, or to an error that says where the source is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from localllm.errors import GrammarError
from localllm.generate.grammar_closed import closed
from localllm.generate.grammar_errors import explained
from localllm.generate.grammar_input import MAX_BYTES, NAMES, Grammar, parse_json
from localllm.generate.grammar_repeats import check_written_out, written_out, written_out_lark
from localllm.generate.grammar_schema import check_schema
from localllm.generate.grammar_vocabulary import Prototype

if TYPE_CHECKING:
    from localllm.generate.grammar_vocabulary import Words

LAYOUT: dict[str, Any] = {
    "item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False, "coerce_one_of": True,
}  # fmt: skip
"""How JSON with a schema is written: as Python's json.dumps does it, which is what models have seen most in calls of
tools; keys and punctuation are then forced, and cost no choice. "x-guidance" in a schema may say otherwise (see
docs/json_schema.md of llguidance)."""
FREE_LAYOUT: dict[str, Any] = {"whitespace_pattern": r" |\n[ \t]{0,24}"}
"""Of JSON without a schema: the model's own, but no endless white space."""

_INLINE = re.compile(r"%json\s*(?=\{)")


def new_prototype(words: Words, grammar: Grammar) -> Prototype:
    """A matcher whose first mask was computed. Raises GrammarError."""
    import llguidance

    source = _SOURCES[grammar.kind](grammar)
    given = source if words.can_force else _unforced(source)
    matcher = llguidance.LLMatcher(words.tokenizer, given, log_level=0, limits=words.limits)
    if not matcher.is_error():
        matcher.compute_bitmask()  # it fills tables that all answers share
    if matcher.is_error():
        raise explained(grammar, source, matcher.get_error(), words.limits)
    words.check_writable()
    asked = matcher.deep_copy()  # the bytes that are asked for become forced, also where nothing is to be
    check_written_out(NAMES[grammar.kind], "", len(asked.compute_ff_bytes()))
    return Prototype(matcher, tuple(matcher.get_grammar_warnings()))


def _unforced(source: str) -> str:
    """A grammar of which no text is turned into tokens, whatever it leaves no choice about."""
    inner = json.loads(source)["grammars"] if source.startswith("{") else [{"lark_grammar": source}]
    first = inner[0] | {"name": inner[0].get("name") or "_first"}
    outer = {"lark_grammar": f'%llguidance {{"no_forcing": true}}\nstart: @{first["name"]}'}
    return json.dumps({"grammars": [outer, first, *inner[1:]]})


def _json_schema(grammar: Grammar) -> str:
    schema = parse_json(grammar.kind, grammar.source)
    if schema is True:
        schema = {}
    if schema is False:
        raise GrammarError(NAMES[grammar.kind], "", "is false: no value meets it")
    if not isinstance(schema, dict):
        raise GrammarError(NAMES[grammar.kind], "", f"is {type(schema).__name__}, not an object or a boolean")
    check_schema(NAMES[grammar.kind], schema)
    return with_layout(closed(schema), LAYOUT)


def with_layout(schema: Mapping[str, Any], layout: dict[str, Any]) -> str:
    """llguidance's grammar of a schema."""
    chosen = schema.get("x-guidance")
    options = layout | (chosen if isinstance(chosen, dict) else {})
    return json.dumps({"grammars": [{"json_schema": {**schema, "x-guidance": options}}]})


def _any_json(grammar: Grammar) -> str:
    schemas: dict[str, dict[str, Any]] = {"": {"type": "object"}, "object": {"type": "object"}, "value": {}}
    if grammar.source not in schemas:
        raise GrammarError("JSON", "", f'is {grammar.source!r:.40}: it may be "object" or "value"')
    return with_layout(schemas[grammar.source], FREE_LAYOUT)


def _regex(grammar: Grammar) -> str:
    import llguidance

    check_written_out(NAMES["regex"], "", written_out(grammar.source))
    return llguidance.LLMatcher.grammar_from_regex(grammar.source)


def _lark(grammar: Grammar) -> str:
    if grammar.source.lstrip().startswith("{"):
        raise GrammarError(NAMES["lark"], "line 1", "begins with {: a list of grammars has the kind llguidance")
    _check_inline(grammar.source)
    return grammar.source


def _check_inline(lark: str) -> None:
    """The sizes of schemas within a Lark grammar, and of the rest; llguidance says what else is wrong with them."""
    decoder, parts, at = json.JSONDecoder(), [], 0
    for match in _INLINE.finditer(lark):
        try:
            schema, end = decoder.raw_decode(lark, match.end())
        except (ValueError, RecursionError):
            continue
        check_schema(NAMES["lark"], schema)
        parts.append(lark[at : match.end()])
        at = max(at, end)
    rest = "".join([*parts, lark[at:]])
    if len(rest) > MAX_BYTES:
        raise GrammarError(
            NAMES["lark"], "", f"has {len(rest)} characters beside schemas: at most {MAX_BYTES} are taken"
        )
    check_written_out(NAMES["lark"], "", written_out_lark(rest))


def _gbnf(grammar: Grammar) -> str:
    from localllm.generate.grammar_gbnf_lark import lark_of

    try:
        return lark_of(grammar.source)
    except RecursionError:
        raise GrammarError(NAMES["gbnf"], "", "has a chain of rules that is too long") from None


def _grammars(grammar: Grammar) -> str:
    value = parse_json(grammar.kind, grammar.source)
    listed = value.get("grammars") if isinstance(value, dict) else None
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed) or not listed:
        raise GrammarError(NAMES[grammar.kind], "", 'must be an object whose "grammars" lists objects')
    for entry in listed:
        check_schema(NAMES[grammar.kind], entry.get("json_schema"))
        _check_inline(str(entry.get("lark_grammar", "")))
    return json.dumps(value)


_SOURCES: dict[str, Callable[[Grammar], str]] = {
    "json_schema": _json_schema, "json": _any_json, "regex": _regex, "lark": _lark, "gbnf": _gbnf,
    "llguidance": _grammars,
}  # fmt: skip

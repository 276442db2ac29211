"""Grammars of strangers: what would run away, or end the process, is refused; what only looks so is taken."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest

from localllm.errors import GrammarError, LocalllmError, UsageError
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.grammar_input import MAX_COMPILED
from localllm.generate.grammar_repeats import written_out, written_out_lark
from localllm.generate.grammar_schema import MAX_JOINED
from localllm.generate.grammar_vocabulary import vocabulary_of
from tests.generate.grammars import vocabulary


@pytest.fixture(scope="module")
def tokenizer():
    return vocabulary("gpt2")


def nested(n):
    return '{"items": ' * n + "{}" + "}" * n


def chain(n, link):
    """n definitions, each of which refers to the next one."""
    names = {f"a{i}": link({"$ref": f"#/$defs/a{i + 1}"}) for i in range(n)}
    return {"$defs": names | {f"a{n}": {"type": "object"}}, "$ref": "#/$defs/a0"}


def pattern(i):
    return {"type": "string", "pattern": f"(a|b)*a(a|b){{{i}}}c"}


def rules(n, name):
    return f"start: {name}0\n" + "\n".join(f"{name}{i}: {name}{i + 1}" for i in range(n)) + f'\n{name}{n}: "a"'


def doubling(n):
    return "start: r0\n" + "\n".join(f"r{i}: r{i + 1} r{i + 1}" for i in range(n)) + f'\nr{n}: "a"'


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "bytes": ("regex", "a" * 70_000, "at most 65536"),
    "bytes of Lark": ("lark", 'start: "' + "a" * 70_000 + '"', "at most 65536"),
    "values": ("json_schema", {"enum": list(range(20_000))}, "more than 10000 values"),
    "members": ("json_schema", {"properties": {f"p{i}": {} for i in range(1001)}}, "at most 1000"),
    "members in Lark": (
        "lark", "start: %json " + json.dumps({"properties": {f"p{i}": {} for i in range(1001)}}), "at most 1000",
    ),
    "depth": ("json_schema", nested(200), "deeper than 100 levels"),
    "depth of the parser": ("json_schema", nested(20_000), "nested too deeply"),
    "digits": ("json_schema", '{"minimum": ' + "9" * 5000 + "}", "a number too long"),
    "infinity": ("json_schema", '{"minimum": 1e999}', "1e999"),
    "NaN": ("json_schema", '{"minimum": NaN}', "NaN"),
    "patterns of names": ("json_schema", {"patternProperties": {f"^a{i}x$": {} for i in range(101)}}, "more than 100"),
    "multiples": ("json_schema", {"type": "integer", "multipleOf": 99_991}, "more than 10000"),
    "patterns of allOf": ("json_schema", {"allOf": [pattern(i) for i in range(20)]}, f"more than {MAX_JOINED}"),
    "patterns by references": (
        "json_schema",
        {"$defs": {f"d{i}": pattern(i) for i in range(20)}, "allOf": [{"$ref": f"#/$defs/d{i}"} for i in range(20)]},
        f"more than {MAX_JOINED}",
    ),
    "patterns of a property": (
        "json_schema",
        {"allOf": [{"properties": {"allOf": pattern(i)}} for i in range(20)]},
        f"more than {MAX_JOINED}",
    ),
    "references": ("json_schema", chain(900, lambda ref: {"allOf": [ref]}), "chain of references"),
    "sums of products": (
        "json_schema",
        {"allOf": [{"anyOf": [{"properties": {f"{c}{i}": {}}} for c in "pq"]} for i in range(13)]},
        "too complex",
    ),
    "regular expression in depth": ("regex", "(" * 5000 + "a" + ")" * 5000, "nested"),
    "regular expression of loops": ("regex", "(a*)*" * 1000 + "b", "too complex"),
    "repeats of repeats": ("regex", "((a{1000}){1,1000}){3}", "make more than 100000"),
    "repeats in a pattern": ("json_schema", {"items": {"pattern": r"^(\d[ab]){99999}$"}}, "/items/pattern: its"),
    "repeats of GBNF": ("gbnf", 'root ::= x{2000}\nx ::= y{2000}\ny ::= "ab"', "make more than 100000"),
    "doubling of GBNF": (
        "gbnf", doubling(40).replace("start", "root").replace(":", " ::="), "make more than 100000",
    ),
    "a long text without choice": ("lark", 'start: "a"{200000}', "make more than 100000"),
    "rules in depth": ("lark", "start: " + "(" * 1000 + '"a"' + ")" * 1000, "nested"),
    "GBNF in depth": ("gbnf", "root ::= " + "(" * 3000 + '"a"' + ")" * 3000, "nested"),
    "NUL": ("regex", "a\0", "NUL"),
    "half a character": ("regex", "a\ud800", "surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tokenizer, name):
    kind, source, message = REFUSED[name]
    with pytest.raises(GrammarError, match=message):
        compile_grammar(tokenizer, Grammar(kind, source if isinstance(source, str) else json.dumps(source)))


KEYWORDS = (
    "type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "$ref", "$defs", "properties", "patternProperties",
    "additionalProperties", "required", "items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength",
    "minimum", "maximum", "multipleOf", "pattern", "format",
)  # fmt: skip


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_a_keyword_with_any_value_is_taken_or_refused(tokenizer, keyword):
    value: Any
    for value in (None, False, True, 0, -1, 7, 1.5, "", "x", [], [7], [{}], {}, {"x": 7}, {"x": {}}):
        for schema in ({keyword: value}, {"properties": {"a": {"type": "object", "properties": {}, keyword: value}}}):
            with contextlib.suppress(GrammarError):
                compile_grammar(tokenizer, Grammar("json_schema", json.dumps(schema)))


def test_a_place_is_shown_on_one_line():
    error = GrammarError("JSON schema", "/\r\n\x1b[2J" + "/a" * 5000, "is nested deeper than 100 levels")
    assert str(error).startswith("JSON schema, /\\u000d\\u000a\\u001b[2J/a/a")
    assert str(error).isprintable()
    assert len(str(error)) < 300
    assert str(GrammarError("GBNF grammar", "line 4", "\\\x07 is no escape")) == (
        "GBNF grammar, line 4: \\\\u0007 is no escape"
    )


TAKEN: dict[str, tuple[Any, Any]] = {
    "a long string": ("json_schema", {"type": "string", "minLength": 10**6}),
    "a long array": ("json_schema", {"type": "array", "minItems": 10**9, "items": {"type": "integer"}}),
    "repeats": ("regex", "(a|b{1,9}){1,1000}[xyz]{1,5000}"),
    "a chain of rules": ("lark", rules(4000, "r")),
    "a chain of terminals": ("lark", rules(4000, "R")),
    "doubling": ("lark", doubling(10)),
    "references that double": ("json_schema", chain(40, lambda ref: {"allOf": [ref, ref]})),
    "a list that refers to itself": (
        "json_schema", {"$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
    ),
    "left recursion": ("lark", 'start: start "a" | "a"'),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_taken(tokenizer, name):
    kind, source = TAKEN[name]
    constraint = compile_grammar(tokenizer, Grammar(kind, source if isinstance(source, str) else json.dumps(source)))()
    steps(tokenizer, constraint, 3)


def steps(tokenizer, constraint, n):
    for _ in range(n):
        logits = np.zeros(tokenizer.n_vocab, np.float32)
        constraint.mask(logits)
        constraint.accept(int(np.argmax(logits)))


def test_what_grows_too_complex_on_the_way_is_an_error_and_is_forgotten(tokenizer):
    """Not an answer that ends: llguidance's mask would then allow the end alone."""
    grammar = Grammar("lark", doubling(20))
    constraint = compile_grammar(tokenizer, grammar)()
    assert vocabulary_of(tokenizer).prototypes.get(grammar)
    with pytest.raises(UsageError, match=r"the grammar cannot direct this answer any further: .*Too many items"):
        steps(tokenizer, constraint, 9)
    assert vocabulary_of(tokenizer).prototypes.get(grammar) is None


def test_a_token_that_was_not_allowed_is_an_error(tokenizer):
    constraint = compile_grammar(tokenizer, Grammar("regex", "ab"))()
    with pytest.raises(LocalllmError, match="doesn't satisfy the grammar"):
        constraint.accept(tokenizer.tokens.index("x"))


def test_compiled_grammars_are_kept_up_to_a_number(tokenizer):
    prototypes = vocabulary_of(tokenizer).prototypes
    first = compile_grammar(tokenizer, Grammar("regex", "x0"))
    for i in range(1, MAX_COMPILED + 1):
        compile_grammar(tokenizer, Grammar("regex", f"x{i}"))
        compile_grammar(tokenizer, Grammar("regex", "x1"))
    assert prototypes.get(Grammar("regex", "x0")) is None
    assert prototypes.get(Grammar("regex", "x1")) is prototypes.get(Grammar("regex", "x1")) is not None
    first()  # what was compiled goes on being usable


def test_a_text_that_no_token_writes():
    tokenizer = vocabulary("t5")
    with pytest.raises(GrammarError, match="no token of this model can begin"):
        compile_grammar(tokenizer, Grammar("regex", "日本"))


def test_a_byte_that_no_token_writes():
    """SmolLM2's vocabulary lacks some."""
    tokenizer = vocabulary("t5")
    constraint = compile_grammar(tokenizer, Grammar("regex", "(a|b)日"))()
    with pytest.raises(LocalllmError, match=r"no token of this model leads on|no tokens of this model write '日'"):
        steps(tokenizer, constraint, 2)
    steps(tokenizer, compile_grammar(tokenizer, Grammar("regex", "(a|b)a"))(), 2)  # others go on


@pytest.mark.parametrize(
    ("regex", "length"),
    [
        ("", 0), ("abc", 3), ("a|b", 2), ("a{3}b", 4), ("(ab){3}", 6), ("((a{2}){3}b){4,5}", 35), ("a{2,}", 2),
        (r"\p{Greek}{3}", 3), (r"\x{41}\{2}", 4), ("[{2}(]{4}", 4), (r"[]a\]]{2}", 2), ("(?:ab){2}(?i)c(?P<n>d){2}", 7),
        ("a*b+c?", 3), (")a{2}", 3), ("{2}", 0), ("[[:alpha:]]{3}", 3),
    ],
)  # fmt: skip
def test_repetitions_written_out(regex, length):
    assert written_out(regex) == length


def test_repetitions_of_lark():
    lark = 'start: A{3} // {9}\nA: "b\\"("{2} /[({]+c/{4} # "\n'
    assert written_out_lark(lark) == 1 + 1 + 3 + 1 + 1 + 4 * 2 + 2 * 4


def test_a_grammar_that_cannot_be_written_is_no_other_one_s_error():
    tokenizer = vocabulary("t5")
    running = compile_grammar(tokenizer, Grammar("regex", "(a|b)c"))()
    with pytest.raises(LocalllmError):
        steps(tokenizer, compile_grammar(tokenizer, Grammar("regex", "(a|b)日"))(), 2)
    steps(tokenizer, running, 1)
    steps(tokenizer, compile_grammar(tokenizer, Grammar("regex", "(a|b)d"))(), 1)

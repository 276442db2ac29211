"""Grammars: what they allow, on vocabularies of every kind; what is wrong with them, and where."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from localllm.errors import GrammarError
from localllm.generate.grammar import Grammar, compile_grammar
from tests.generate.grammars import VOCABULARIES, random_answer, vocabulary

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]{1,8}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "alive": {"type": "boolean"},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module", params=VOCABULARIES)
def tokenizer(request):
    return vocabulary(request.param)


def schema(value) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


@pytest.mark.parametrize("seed", range(6))
def test_answers_meet_a_schema(tokenizer, seed):
    _, text, ended = random_answer(tokenizer, compile_grammar(tokenizer, schema(PERSON)), seed)
    assert ended
    value = json.loads(text)
    assert re.fullmatch("[a-z]{1,8}", value["name"])
    assert 0 <= value["age"] <= 120
    assert value.keys() <= {"name", "age", "alive"}
    assert text == json.dumps(value)


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", "(ab|c){2,5}x?"), "(ab|c){2,5}x?"),
        (Grammar("lark", 'start: "a" b+ "d"\nb: "b" | "(" b ")"'), r"a[b()]+d"),
        (Grammar("gbnf", 'root ::= "yes" | "no" [0-9]{2}'), "yes|no[0-9]{2}"),
        (Grammar("json", "value"), "(?s).*"),
    ],
    ids=lambda x: x.kind if isinstance(x, Grammar) else "",
)
def test_answers_meet_a_grammar(tokenizer, grammar, pattern):
    for seed in range(3):
        _, text, ended = random_answer(tokenizer, compile_grammar(tokenizer, grammar), seed, end=2.0)
        assert ended
        assert re.fullmatch(pattern, text)
        if grammar.kind == "json":
            json.loads(text)


def test_an_end_token_that_looks_like_text_is_no_text():
    """Qwen's files have such: a string could hold it, and the answer would end within the string."""
    tokenizer = vocabulary("gpt2")
    tokenizer.eog_ids = frozenset({*tokenizer.eog_ids, tokenizer.tokens.index("a")})
    constraint = compile_grammar(tokenizer, Grammar("regex", "[ab]+"))()
    logits = np.zeros(tokenizer.n_vocab, np.float32)
    constraint.mask(logits)
    allowed = {tokenizer.tokens[i] for i in np.flatnonzero(np.isfinite(logits))}
    assert {"b", "bb", "aa"} <= allowed
    assert "a" not in allowed
    constraint.accept(tokenizer.tokens.index("b"))
    logits = np.zeros(tokenizer.n_vocab, np.float32)
    constraint.mask(logits)
    assert np.isfinite(logits[sorted(tokenizer.eog_ids)]).all()


def test_logits_may_be_more_than_tokens(tokenizer):
    logits = np.zeros(tokenizer.n_vocab + 37, np.float32)
    compile_grammar(tokenizer, Grammar("json"))().mask(logits)
    assert np.isfinite(logits).any()
    assert np.all(logits[tokenizer.n_vocab :] == -np.inf)


ERRORS = [
    ("json_schema", '{"type": "object",}', "line 1, column 19"),
    ("json_schema", "[]", ""),
    ("json_schema", "false", ""),
    ("json_schema", {"properties": {"a/b": {"items": {"type": "string", "pattern": "a("}}}}, "/properties/a~1b/items"),
    (
        "json_schema",
        {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 3}}, "required": ["n"]},
        "/properties/n",
    ),
    ("json_schema", {"$defs": {"d": {"format": "no", "type": "string"}}, "items": {"$ref": "#/$defs/d"}}, "/$defs/d"),
    ("json_schema", {"properties": {"x": {"not": {}}}}, "/properties/x"),
    ("regex", "ab(", "column 3"),
    ("regex", "a(?=b)", "column 2"),
    ("lark", "start: foo\nfoo: bar", "line 2, column 6"),
    ("lark", "", ""),
    ("gbnf", 'root ::= "a" foo', "line 1"),
    ("gbnf", 'root ::= "a" x\nx ::= [z-a]', "line 2"),
    ("gbnf", "root ::= (", "line 1"),
    ("json", "any", ""),
    ("llguidance", "{}", ""),
]


@pytest.mark.parametrize(("kind", "source", "where"), ERRORS)
def test_an_error_says_where(kind, source, where):
    with pytest.raises(GrammarError) as caught:
        compile_grammar(vocabulary("gpt2"), Grammar(kind, source if isinstance(source, str) else json.dumps(source)))
    assert caught.value.where == where
    assert "\n" not in str(caught.value)

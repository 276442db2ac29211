"""Objects of schemas take what they name alone, where that leaves every answer possible."""

from __future__ import annotations

import json

import numpy as np
import pytest

from localllm.errors import LocalllmError
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.grammar_closed import closed
from tests.generate.grammars import vocabulary

A = {"type": "object", "properties": {"a": {"type": "boolean"}}}
B = {"type": "object", "properties": {"b": {"type": "boolean"}}}
SHUT = {"additionalProperties": False}
REF = {"$ref": "#/$defs/a"}


def of(schema):
    return {"type": "object", "properties": {"x": schema}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (A, A | SHUT),
        (of(A), of(A | SHUT) | SHUT),
        ({"items": A}, {"items": A | SHUT}),
        ({"type": "object", "properties": {}}, {"type": "object", "properties": {}} | SHUT),
        ({"type": "object"}, {"type": "object"}),
        (A | {"required": ["a"]}, A | {"required": ["a"]} | SHUT),
        ({"anyOf": [A, B]}, {"anyOf": [A | SHUT, B | SHUT]}),
        ({"title": "x", "allOf": [A]}, {"title": "x", "allOf": [A | SHUT]}),
        (REF | {"$defs": {"a": A}}, REF | {"$defs": {"a": A | SHUT}}),
        (of(REF) | {"$defs": {"a": A}}, of(REF) | SHUT | {"$defs": {"a": A | SHUT}}),
        ({"enum": [{"properties": {}}]}, {"enum": [{"properties": {}}]}),
    ],
)
def test_closed(schema, expected):
    assert closed(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        A | {"additionalProperties": True}, A | {"additionalProperties": {"type": "null"}},
        A | {"patternProperties": {"^x": {}}}, A | {"required": ["a", "z"]}, A | {"minProperties": 2},
        {"allOf": [A, B]}, {"allOf": 7}, {"allOf": {"x": A}},
        A | {"anyOf": [B]}, A | {"$ref": "#/$defs/b", "$defs": {"b": B}},
        {"allOf": [of(A), of(B)]}, A | {"if": A, "then": B},
        {"allOf": [REF, B], "$defs": {"a": A}},
        {"allOf": [{"$ref": "#/$defs/a%20b"}, B], "$defs": {"a b": {"$ref": "#/$defs/c"}, "c": A}},
        of({"$ref": "http://other/schema"}), of({"$ref": "#anchor"}),
        {"allOf": [{"$ref": "#/$defs/0"}, B],
         "$defs": {str(i): {"$ref": f"#/$defs/{i - 1}"} if i else A for i in range(3)}},
    ],
)  # fmt: skip
def test_left_open(schema):
    assert closed(schema) == schema


def test_what_is_joined_is_open_and_what_stands_beside_it_is_not():
    schema = {"type": "object", "properties": {"x": {"allOf": [REF, B]}, "y": A}, "$defs": {"a": A, "c": B}}
    expected = {"type": "object", "properties": {"x": {"allOf": [REF, B]}, "y": A | SHUT}, "$defs": {"a": A}} | SHUT
    assert closed(schema) == expected | {"$defs": {"a": A, "c": B | SHUT}}


@pytest.mark.parametrize(("n", "is_read"), [(3, True), (3000, False)])
def test_a_long_chain_of_what_is_joined_stays_as_it_is(n, is_read):
    links = {str(i): {"$ref": f"#/$defs/{i - 1}"} for i in range(1, n)}  # each is found in a round of its own
    schema = of(A) | {"$defs": {"0": A, **links, "first": {"allOf": [{"$ref": f"#/$defs/{n - 1}"}, B]}}}
    read = of(A | SHUT) | SHUT | {"$defs": schema["$defs"]}
    assert closed(schema) == (read if is_read else schema)


def can_write(schema, text):
    tokenizer = vocabulary("gpt2")
    constraint = compile_grammar(tokenizer, Grammar("json_schema", json.dumps(schema)))()
    forced: list[int] = []
    try:
        for token in tokenizer.encode_inside(text):
            if forced:
                if forced.pop(0) != token:
                    return False
                continue
            logits = np.zeros(tokenizer.n_vocab, np.float32)
            constraint.mask(logits)
            if logits[token] == -np.inf:
                return False
            forced = list(constraint.accept(token))
    except LocalllmError:
        return False
    return constraint.may_end


def test_answers_have_no_members_that_the_schema_does_not_name():
    assert can_write(A, '{"a": true}')
    assert not can_write(A, '{"a": true, "b": 1}')
    assert can_write(A | {"additionalProperties": True}, '{"a": true, "b": 1}')
    assert can_write({"allOf": [A, B]}, '{"a": true, "b": true}')
    assert can_write(A | {"required": ["z"]}, '{"a": true, "z": 1}')

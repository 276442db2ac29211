"""Grammars of whole answers with calls in them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.grammar_blocks import Call, answer_with_calls, json_of, quoted, written
from tests.generate.grammars import VOCABULARIES, random_answer, vocabulary

SCHEMA = {
    "type": "object",
    "properties": {"name": {"const": "f"}, "arguments": {"type": "object", "additionalProperties": {"enum": [1, 2]}}},
    "required": ["name", "arguments"],
    "additionalProperties": False,
}
HERMES = Call("<tool_call>", f'"\\n" {json_of(SCHEMA)} "\\n</tool_call>"')
ONE = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def accepts(tokenizer, grammar, text):
    """Whether an answer may be this text; None where it may be its beginning alone."""
    constraint = compile_grammar(tokenizer, grammar)()
    ids = [
        i
        for part in tokenizer.cut_control(text)
        for i in ([part] if isinstance(part, int) else tokenizer.encode_inside(part))
    ]
    forced: list[int] = []
    for token in ids:
        if forced:
            if forced.pop(0) != token:
                return False
            continue
        logits = np.zeros(tokenizer.n_vocab, np.float32)
        constraint.mask(logits)
        if not np.isfinite(logits[token]):
            return False
        forced = list(constraint.accept(token))
    return True if constraint.may_end else None


@pytest.fixture(scope="module")
def tokenizer():
    return vocabulary("gpt2")


def test_any_number_of_calls(tokenizer):
    grammar = answer_with_calls(tokenizer, [HERMES])
    for text in ("", "hello", f"so: {ONE}", f"{ONE}\n{ONE} done", "<tool_cal> is no call", "<tool_call"):
        assert accepts(tokenizer, grammar, text), text
    for text in ("<tool_call>", f"{ONE}{ONE[:30]}"):
        assert accepts(tokenizer, grammar, text) is None, text
    for text in ("<tool_call> x", ONE.replace('"f"', '"g"'), f"{ONE} <tool_call>x", "a<|im_start|>"):
        assert accepts(tokenizer, grammar, text) is False, text


def test_at_least_one(tokenizer):
    grammar = answer_with_calls(tokenizer, [HERMES], at_least=1)
    assert accepts(tokenizer, grammar, "let me see") is None
    assert accepts(tokenizer, grammar, f"let me see {ONE}")


def test_at_most_one(tokenizer):
    grammar = answer_with_calls(tokenizer, [HERMES], at_most=1)
    for text in ("hello", ONE, f"{ONE} done"):
        assert accepts(tokenizer, grammar, text), text
    assert not accepts(tokenizer, grammar, f"{ONE} {ONE}")
    assert not accepts(tokenizer, grammar, f"{ONE} <tool_call>")


def test_exactly_one_and_no_text(tokenizer):
    grammar = answer_with_calls(tokenizer, [HERMES], at_least=1, at_most=1, text=False)
    assert accepts(tokenizer, grammar, "") is None
    assert accepts(tokenizer, grammar, f"\n{ONE}\n")
    for text in ("hello", f"{ONE}{ONE}"):
        assert accepts(tokenizer, grammar, text) is False, text


def test_several_ways_to_begin(tokenizer):
    """Bodies that begin alike are alternatives; a control token begins a call wherever it stands."""
    calls = [Call("<f=", '"a" DIGIT ">"'), Call("<f=", '"b>"'), Call("<|im_start|>", 'name "!"')]
    grammar = answer_with_calls(tokenizer, calls, rules="DIGIT: /[0-9]/\nname: /[a-z]{1,3}/")
    for text in ("<f=a1>", "x<f=b>y<f=a2>", "<|im_start|>abc!", "so <|im_start|>x!<f=b>"):
        assert accepts(tokenizer, grammar, text), text
    for text in ("<f=c>", "<|im_start|>1", "<f=a1>y<f=a>"):
        assert accepts(tokenizer, grammar, text) is False, text


def test_a_beginning_of_text_and_control_tokens(tokenizer):
    grammar = answer_with_calls(tokenizer, [Call("to=<|im_start|>f", '"!"')])
    assert accepts(tokenizer, grammar, "x to=<|im_start|>f! y")
    assert accepts(tokenizer, grammar, "x to=f") is False


@pytest.mark.parametrize("name", VOCABULARIES)
def test_random_answers(name):
    tokenizer = vocabulary(name)
    grammar = answer_with_calls(tokenizer, [Call("!", json_of(SCHEMA))], at_least=1)
    for seed in range(3):
        _, text, ended = random_answer(tokenizer, compile_grammar(tokenizer, grammar), seed, end=3.0)
        calls = text.split("!")[1:]
        assert calls or not ended
        for call in calls[: None if ended else -1]:
            value, _ = json.JSONDecoder().raw_decode(call)
            assert value["name"] == "f"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12))
def test_literals(text):
    tokenizer = _TOKENIZER
    assert accepts(tokenizer, Grammar("lark", f"start: {quoted(text)}"), text)


_TOKENIZER = vocabulary("gpt2")


def test_written(tokenizer):
    end = tokenizer.tokens.index("<|end|>")
    assert written(tokenizer, "a<|end|>b<user>") == f'"a" <[{end}]> "b<user>"'


def test_schemas_that_are_booleans(tokenizer):
    assert accepts(tokenizer, Grammar("lark", f"start: {json_of(True)}"), '{"a": [1, null]}')

"""Grammars through model.generate and model.chat."""

from __future__ import annotations

import json
import sys

import pytest

from localllm.errors import GrammarError, UnsupportedError, UsageError
from localllm.generate.grammar import Grammar, compile_grammar, schema_text
from tests.generate.fake import FakeModel
from tests.generate.grammars import vocabulary


def test_generate_keeps_to_a_regular_expression():
    answer = FakeModel().generate("ab", grammar=Grammar("regex", "(x|cd)e{2}[a-z]!"), temperature=0)
    assert "".join(answer) == "cdeef!"
    assert answer.stats.stop_reason == "stop"


def test_what_is_forced_takes_no_pass_of_its_own():
    model = FakeModel()
    answer = model.generate("ab", grammar=Grammar("regex", "(x|c)hello (y|z)"), temperature=0)
    assert "".join(answer) == "chello y"
    assert model.contexts[0].calls == [[0, 1, 2], list(map(vocabulary_of(model), "chello "))]


def vocabulary_of(model):
    return lambda c: model.tokenizer.encode(c)[0]


def test_chat_keeps_to_a_schema():
    schema = {"enum": [17, 5, 23]}
    for given in (schema, json.dumps(schema)):
        answer = FakeModel(script="23 it is").chat(
            [{"role": "user", "content": "hi"}], json_schema=given, temperature=0
        )
        assert "".join(answer) == "23"


def test_a_cut_answer_says_so():
    answer = FakeModel().generate("ab", 3, grammar=Grammar("regex", "[a-z]{9}"), temperature=0)
    assert ("".join(answer), answer.stats.stop_reason) == ("cde", "length")


def test_an_answer_of_just_that_length_is_whole():
    answer = FakeModel().generate("ab", 3, grammar=Grammar("regex", "[a-z]{3}"), temperature=0)
    assert ("".join(answer), answer.stats.stop_reason) == ("cde", "stop")


def test_the_end_of_the_model_ends_it_only_where_it_may():
    """The fake would end after "hello"."""
    messages = [{"role": "user", "content": "hi"}]
    for regex, said in (("[a-z]+", "hello"), ("[a-z]{7,9}", "hello")):
        answer = FakeModel().chat(messages, grammar=Grammar("regex", regex), temperature=0)
        assert "".join(answer).startswith(said)
        assert answer.stats.stop_reason == "stop"
        assert (len(answer.text) == 5) == (regex == "[a-z]+")


def test_one_of_both():
    with pytest.raises(UsageError, match="one of them"):
        FakeModel().generate("a", grammar=Grammar("json"), json_schema={})
    with pytest.raises(GrammarError, match="no value meets it"):
        FakeModel().generate("a", json_schema={"enum": []})


def test_schemas_come_in_several_forms():
    class Pydantic:
        @classmethod
        def model_json_schema(cls):
            return {"type": "integer"}

    assert schema_text(Pydantic) == schema_text({"type": "integer"}) == schema_text('{"type": "integer"}')
    with pytest.raises(GrammarError, match="is no JSON"):
        schema_text({"const": object()})


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'localllm\[structured\]'"):
        compile_grammar(vocabulary("gpt2"), Grammar("json"))

"""Random schemas, random answers: every answer meets its schema, on vocabularies of every kind."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from localllm.errors import GrammarError
from localllm.generate.grammar import Grammar, compile_grammar
from tests.generate.grammars import random_answer, vocabulary
from tests.generate.schemas import SCHEMAS, meets

TOKENIZERS = {name: vocabulary(name) for name in ("gpt2", "llama", "rwkv", "plamo2")}
"""Those that can write every text."""


def compiled(tokenizer, schema):
    try:
        return compile_grammar(tokenizer, Grammar("json_schema", json.dumps(schema)))
    except GrammarError as error:
        assume("no value meets it" not in str(error))
        raise


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEMAS, st.integers(0, 2**32))
def test_answers_meet_their_schema(name, schema, seed):
    tokenizer = TOKENIZERS[name]
    _, text, ended = random_answer(tokenizer, compiled(tokenizer, schema), seed, end=4.0)
    assume(ended)
    assert meets(json.loads(text), schema), text

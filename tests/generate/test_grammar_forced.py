"""Forced tokens are those that the model itself would write, and take nothing away from what may be said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.errors import LocalllmError
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.grammar_source import LAYOUT
from tests.generate.grammars import random_answer, unigram, vocabulary
from tests.generate.schemas import SCHEMAS
from tests.text.build import tokenizer_of

TOKENIZERS = {name: vocabulary(name) for name in ("gpt2", "llama", "rwkv", "plamo2")}
REAL = ("smollm2-135m-instruct-q4_1", "qwen2.5-coder-0.5b-instruct-q4_k_m", "gemma-3-270m-q4_k_m")


def held(schema):
    return Grammar("json_schema", json.dumps(schema))


def unforced(schema):
    """The same texts, token by token."""
    outer = {"lark_grammar": '%llguidance {"no_forcing": true}\nstart: @inner'}
    inner = {"name": "inner", "json_schema": schema | {"x-guidance": LAYOUT}}
    return Grammar("llguidance", json.dumps({"grammars": [outer, inner]}))


def check_forced(tokenizer, schema, seed):
    """A text that comes about without forcing can be written with it, in the tokenizer's own way."""
    try:
        _, text, ended = random_answer(tokenizer, compile_grammar(tokenizer, unforced(schema)), seed, 80, end=4.0)
    except LocalllmError as error:
        if re.search(r"no tokens? of this model", str(error)):  # SmolLM2's vocabulary lacks bytes
            return 0
        raise
    if not ended:
        return 0
    constraint = compile_grammar(tokenizer, held(schema))()
    forced: list[int] = []
    n_forced = 0
    for token in tokenizer.encode_inside(text):
        if forced:
            assert forced.pop(0) == token, text
            n_forced += 1
            continue
        assert not constraint.finished
        logits = np.zeros(tokenizer.n_vocab, np.float32)
        constraint.mask(logits)
        assert np.isfinite(logits[token]), text
        forced = list(constraint.accept(token))
    assert not forced
    assert constraint.may_end
    return n_forced


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEMAS, st.integers(0, 2**32))
def test_small_vocabularies(name, schema, seed):
    check_forced(TOKENIZERS[name], schema, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_vocabularies(name):
    from localllm import load_tokenizer as load

    path = Path.home() / ".cache" / "localllm-test-models" / f"{name}.gguf"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    tokenizer = load(path)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(SCHEMAS, st.integers(0, 2**32))
    def check(schema, seed):
        check_forced(tokenizer, schema, seed)

    check()


def test_keys_are_forced():
    schema = {"type": "object", "properties": {"name": {"type": "boolean"}, "age": {"type": "boolean"}},
              "required": ["name", "age"], "additionalProperties": False}  # fmt: skip
    tokenizer = TOKENIZERS["gpt2"]
    assert check_forced(tokenizer, schema, 1) > 12


def test_a_token_over_the_end_of_what_is_forced_stays_possible():
    """`"a` is forced up to the quote, where `":` may follow as one token."""
    tokenizer = TOKENIZERS["rwkv"]
    constraint = compile_grammar(tokenizer, Grammar("regex", '(x|y)"(: |a)'))()
    x, joined = tokenizer.encode_inside("x")[0], tokenizer.encode_inside('": ')
    assert len(joined) == 1
    assert not constraint.accept(x)
    logits = np.zeros(tokenizer.n_vocab, np.float32)
    constraint.mask(logits)
    assert set(np.flatnonzero(np.isfinite(logits))) == {*joined, *tokenizer.encode_inside('"')}


def test_a_tokenizer_that_changes_texts_forces_nothing():
    for tokenizer in (vocabulary("bert"), tokenizer_of(unigram() | {"tokenizer.ggml.add_space_prefix": True})):
        constraint = compile_grammar(tokenizer, Grammar("regex", "abcd"))()
        logits = np.zeros(tokenizer.n_vocab, np.float32)
        constraint.mask(logits)
        assert not constraint.accept(int(np.argmax(logits)))

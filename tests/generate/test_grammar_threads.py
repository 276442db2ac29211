"""Grammars in several threads: answers do not depend on one another, though they share tables."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from localllm.errors import GrammarError
from localllm.generate.grammar import Grammar, compile_grammar
from tests.generate.grammars import random_answer, vocabulary
from tests.generate.test_grammar import PERSON

GRAMMARS = [
    Grammar("json_schema", json.dumps(PERSON)),
    Grammar("json", "value"),
    Grammar("regex", "(a|b|cd){3,9}x"),
    Grammar("gbnf", 'root ::= "(" root ")" | [a-z]+ "b"'),
]


def answers(tokenizer, seed):
    """Compiled anew each time, or found, as it comes."""
    return [random_answer(tokenizer, compile_grammar(tokenizer, g), seed, 60, end=2.0) for g in GRAMMARS]


def test_the_same_answers_as_alone():
    alone = [answers(vocabulary("gpt2"), seed) for seed in range(24)]
    tokenizer = vocabulary("gpt2")
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda seed: answers(tokenizer, seed), range(24))) == alone


def test_answers_of_one_grammar_take_turns():
    tokenizer = vocabulary("gpt2")
    first, second = (compile_grammar(tokenizer, GRAMMARS[0])() for _ in range(2))
    begin = tokenizer.encode_inside("{")[0]
    forced = list(first.accept(begin))
    assert not first.finished
    assert list(second.accept(begin)) == forced


def test_an_error_in_a_thread_is_that_thread_s():
    tokenizer = vocabulary("gpt2")

    def wrong(i):
        try:
            compile_grammar(tokenizer, Grammar("regex", f"a{i}("))
        except GrammarError as error:
            return error.where
        return None

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(wrong, range(10))) == ["column 3"] * 10

"""GBNF: the parser, and grammars that mean the same in llguidance's form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.errors import GrammarError
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.grammar_gbnf import Chars, Choice, Reference, Repeat, Sequence, parse
from localllm.text.bytelevel import BYTE_TO_CHAR
from tests.generate.grammars import random_answer, vocabulary

TOKENIZER = vocabulary("gpt2")


def ends(rules, node, text, at, known):
    """Where a node may end that begins at `at`: the twin, by trying everything. No rule begins with itself."""
    key = (id(node), at)
    if key not in known:
        known[key] = set(_ends(rules, node, text, at, known))
    return known[key]


def _ends(rules, node, text, at, known):
    if isinstance(node, Chars):
        return {at + 1} if at < len(text) and any(a <= ord(text[at]) <= b for a, b in node.ranges) else set()
    if isinstance(node, Reference):
        return ends(rules, rules[node.name], text, at, known)
    if isinstance(node, Choice):
        return set().union(*(ends(rules, option, text, at, known) for option in node.options))
    if isinstance(node, Sequence):
        places = {at}
        for item in node.items:
            places = set().union(*(ends(rules, item, text, place, known) for place in places))
        return places
    assert isinstance(node, Repeat)
    places, found = {at}, {at} if node.least == 0 else set()
    for n in range(1, len(text) + 2 if node.most is None else node.most + 1):
        places = set().union(*(ends(rules, node.item, text, place, known) for place in places))
        if n >= node.least:
            if places <= found:
                break
            found |= places
    return found


def means(source, text):
    rules = parse(source)
    return len(text) in ends(rules, rules["root"], text, 0, {})


def accepts(source, text):
    """Whether the compiled grammar takes a text, byte by byte."""
    matcher = compile_grammar(TOKENIZER, Grammar("gbnf", source))()._matcher
    ids = [TOKENIZER.tokens.index(BYTE_TO_CHAR[byte]) for byte in text.encode()]
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


SAME = [
    ('root ::= [a-z]+ "b"', ["aab", "bb"], ["a", "", "b", "aba"]),
    ('root ::= word "b"\nword ::= [a-z]+', ["aab"], ["b"]),
    ('root ::= "(" root ")" | word "x" | ""\nword ::= [a-z]+', ["(abx)", "()", "xx"], ["(x)", "x", "(ab)"]),
    ('root ::= ("a" | "ab") ("b" | "(" root ")") "c"', ["abc", "abbc", "a(abc)c", "ab(abc)c"], ["ac", "a()c"]),
    ('root ::= "a" .* "b"', ["a\nxb", "ab", "abbb"], ["a"]),
    ('root ::= "\\u0041\\x42\\U00000043\\t\\\\\\""', ['ABC\t\\"'], ["ABC"]),
    ('root ::= [^\\n"\\]]+ "\\n"', ["a-b\n"], ['"\n', "\n"]),
    ("root ::= [a\\-c] [-x] [x-] [\\]]", ["a--]", "-xx]", "c-x]"], ["b--]"]),
    ("root ::= (\n  \"a\" | # one\n  \"b\"\n)+ # end\n\n# last", ["abba"], ["", "c"]),
    ('root ::= ws "x" ws "y"\nws ::= ([ \\t] ws)?', [" x  y", "xy"], ["x y "]),
    ('root ::= "a"{2} "b"{1,} "c"{0,2}', ["aabb", "aabcc"], ["ab", "aabccc", "aa"]),
    ('root ::= a-B | start\na-B ::= "x"\nstart ::= "y"', ["x", "y"], ["xy"]),
    ('root ::= Foo foo\nFoo ::= "a"\nfoo ::= "b"', ["ab"], ["ba"]),
    ('root ::= "é" [à-ü] "日本"?', ["éè日本", "éü"], ["é"]),
    ('root ::= "a/b" [/] "$x{3}^."', ["a/b/$x{3}^."], ["a/b"]),
    ('root ::= "ab"* | "c"', ["abab", "", "c"], ["abb"]),
    ('root::="a"|\n"b" |', ["a", "b", ""], ["ab"]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "texts", "others"), SAME)
def test_the_same_texts(source, texts, others):
    for text in texts:
        assert means(source, text), text
        assert accepts(source, text), text
    for text in others:
        assert not means(source, text), text
        assert not accepts(source, text), text


_LEAVES = st.sampled_from(['"a"', '"b"', '"ab"', "[ab]", "[^a]", '"c"', "x", "y", '""', "."])


def _wider(inner):
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(" ".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda options: f"({' | '.join(options)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}"])).map(lambda pair: f"({pair[0]}){pair[1]}"),
    )


_BODIES = st.recursive(_LEAVES, _wider, max_leaves=6)
_TEXTS = st.lists(st.text("abc", max_size=7), min_size=8, max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(_BODIES, _BODIES, _BODIES, _TEXTS)
def test_random_grammars_mean_the_same(root, x, y, texts):
    """x may refer to itself, and to the root; each rule that is recursive consumes a character first."""
    source = f'root ::= {root}\nx ::= "a" ({x}) | "b"\ny ::= "c" ({y}) "a" | "b" root? | [ab]\n'
    source = source.replace("root?", "y?")
    for text in texts:
        assert accepts(source, text) == means(source, text), (source, text)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_BODIES, _BODIES, st.integers(0, 1000))
def test_random_answers_meet_random_grammars(root, x, seed):
    source = f'root ::= {root}\nx ::= "a" ({x.replace("y", "x")}) | "b"\ny ::= "ab" | "b"\n'
    _, text, ended = random_answer(TOKENIZER, compile_grammar(TOKENIZER, Grammar("gbnf", source)), seed, 40, end=2.0)
    if ended:
        assert means(source, text), (source, text)


@pytest.mark.parametrize(
    ("source", "where", "what"),
    [
        ("", "", "no rule named root"),
        ('rot ::= "a"', "", "no rule named root"),
        ('root ::= "a"\n\nx ::= y', "line 3", "there is no rule 'y'"),
        ('root ::= "a', "line 1", "not closed"),
        ("root ::= [a", "line 1", "not closed"),
        ('root ::= ("a"', "line 1", ") is expected"),
        ('root ::= "a")', "line 1", "')' is not expected here"),
        ('root = "a"', "line 1", "::= is expected"),
        ("root ::= *", "line 1", "nothing to repeat"),
        ('root ::= "a"{x}', "line 1", "a number is expected"),
        ('root ::= "a"{3,2}', "line 1", "fewer"),
        ('root ::= "a"{99999}', "line 1", "more than 2000"),
        ("root ::= [z-a]", "line 1", "wrong way round"),
        ("root ::= []", "line 1", "no character"),
        ('root ::= "\\q"', "line 1", "\\q is no escape"),
        ('root ::= "\\u12"', "line 1", "is no escape"),
        ('root ::= "\\ud800"', "line 1", "is no character"),
        ("root ::= <no such> x", "line 1", "a token is written"),
        ('root ::= "a" x\nx ::= "(" x ")" <no_such>', "line 2", 'unknown special token: "<no_such>"'),
        ("root ::= !<|end|>", "line 1", "written by its id"),
        ("root ::= r\n" + "\n".join(f'r{i} ::= "a"' for i in range(1100)), "line 1001", "1000 rules"),
    ],
)  # fmt: skip
def test_errors(source, where, what):
    with pytest.raises(GrammarError) as caught:
        compile_grammar(TOKENIZER, Grammar("gbnf", source))
    assert what in str(caught.value)
    assert caught.value.where == where


def test_tokens():
    end, start = (TOKENIZER.tokens.index(t) for t in ("<|end|>", "<|im_start|>"))
    grammar = Grammar("gbnf", f'root ::= <|im_start|> "a" <[{start}]> [b]')
    constraint = compile_grammar(TOKENIZER, grammar)()
    logits = np.zeros(TOKENIZER.n_vocab, np.float32)
    constraint.mask(logits)
    assert np.flatnonzero(np.isfinite(logits)).tolist() == [start]
    a, b = (TOKENIZER.tokens.index(c) for c in "ab")
    assert [start, *constraint.accept(start)] == [start, a, start, b]
    assert constraint.finished
    assert end not in (start, a, b)


def test_a_large_grammar_has_whole_lexemes():
    """Where pairs of characters are too many to compare."""
    words = " | ".join(f'"word {i}"' for i in range(300))
    source = f'root ::= "(" root ")" | ({words})*'
    assert accepts(source, "((word 1word 299))")


def test_a_long_chain_of_rules():
    assert accepts("root ::= r0\n" + "\n".join(f"r{i} ::= r{i + 1}" for i in range(300)) + '\nr300 ::= "a"', "a")

"""Answers in every format: whole, letter by letter and in random pieces, they come to the same."""

from __future__ import annotations

import json
import random

import pytest

from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Reasoning
from localllm.generate.dialogue.formats import FORMATS, GENERIC
from localllm.generate.dialogue.parser import OutputParser, Reading
from localllm.generate.dialogue.thinking import THINKING
from tests.generate.dialogue.cases import CASES, TOOLS

ROWS = {row.name: row for row in (*FORMATS, GENERIC)}
MARKS = {thinking.opening: thinking for thinking in THINKING}


def reading(case):
    return Reading(ROWS[case.format], TOOLS, MARKS.get(case.thinking), case.is_thinking)


def parse(parser, pieces):
    deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()
    content = "".join(delta.text for delta in deltas if isinstance(delta, Content))
    reasoning = "".join(delta.text for delta in deltas if isinstance(delta, Reasoning))
    calls: list[list[str]] = []
    for delta in deltas:
        if isinstance(delta, CallBegin):
            assert delta.index == len(calls)
            calls.append([delta.id, delta.name, ""])
        elif isinstance(delta, CallArguments):
            assert delta.index == len(calls) - 1
            calls[-1][2] += delta.text
    return content, reasoning, tuple(map(tuple, calls))


def cuts(text, seed):
    rng = random.Random(seed)
    places = sorted(rng.sample(range(len(text) + 1), min(len(text), rng.randrange(1, 12))))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.format}-{i}" for i, case in enumerate(CASES)])
def test_answers(case):
    whole = parse(OutputParser(reading(case), seed=1), [case.text])
    content, reasoning, calls = whole
    assert content == case.content
    assert reasoning == case.reasoning
    assert [name for _, name, _ in calls] == [name for name, _ in case.calls]
    for (_, _, found), (_, expected) in zip(calls, case.calls, strict=True):
        assert found == expected if case.is_exact else json.loads(found) == json.loads(expected)
    assert parse(OutputParser(reading(case), seed=1), case.text) == whole
    for seed in range(5):
        assert parse(OutputParser(reading(case), seed=1), cuts(case.text, seed)) == whole


def test_every_format_has_a_case():
    assert {case.format for case in CASES} == set(ROWS)


def fragments(row, thinking):
    """What random answers are made of: the format's own markers, pieces of calls, and words."""
    own = [*row.starts, *row.signs, *row.drops]
    if thinking:
        own += [thinking.opening, thinking.closing]
    cases = [case.text for case in CASES if case.format == row.name]
    return own * 3 + [
        '{"name": "special_function", "arguments": ', '{"arg1": 1}', '{"arguments": {}, ', '"name": "python"',
        "special_function", "}", "]", "[", "{", '"', "\\", ":", ",", "\n", " ", "`", "```", "é", "\U0001f600", "</",
        "</tool_call>", "call:", "<function=python>", "<parameter=code>\n", "\n</parameter>\n", "</function>",
        "[ARGS]", "<|end|>", "<|message|>",
    ] + [text[:n] for text in cases for n in (len(text) // 2, len(text))]  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_random_answers(name):
    rng = random.Random(name)
    for _ in range(150):
        thinking = rng.choice([None, *THINKING])
        parts = fragments(ROWS[name], thinking)
        words = [f"w{i}w" for i in range(rng.randrange(1, 6))]
        pieces = rng.choices(parts, k=rng.randrange(1, 8)) + words
        rng.shuffle(pieces)
        text = "".join(pieces)
        how = Reading(ROWS[name], TOOLS, thinking, thinking is not None and rng.random() < 0.5)
        whole = parse(OutputParser(how, seed=1), [text])
        assert parse(OutputParser(how, seed=1), text) == whole, text
        assert parse(OutputParser(how, seed=1), cuts(text, rng.random())) == whole, text
        content, reasoning, calls = whole
        said = [content, reasoning, *(arguments for _, _, arguments in calls)]
        for word in words:
            times = sum(part.count(word) for part in said)
            assert times <= 1, text
            assert times or calls or name == "harmony", text  # beside calls, they may be markup of these
        if not calls and thinking is None and not ROWS[name].drops and name != "harmony":
            assert content == text


def test_without_tools_everything_is_content():
    text = '<tool_call>\n{"name": "special_function", "arguments": {}}\n</tool_call> \n'
    assert parse(OutputParser(), [text]) == (text, "", ())
    assert OutputParser().push("a ") == [Content("a ")]


def test_ids():
    text = '[TOOL_CALLS]special_function[ARGS]{"arg1": 1}'
    row = ROWS["mistral"]
    (call,) = parse(OutputParser(Reading(row, TOOLS)), [text])[2]
    assert len(call[0]) == 9
    assert call[0].isalnum()
    ((given, _, _),) = parse(OutputParser(Reading(row, TOOLS)), [text.replace("[ARGS]", "[CALL_ID]abcdefghi[ARGS]")])[2]
    assert given == "abcdefghi"
    first, second = (
        parse(OutputParser(Reading(ROWS["hermes"], TOOLS), seed=seed), ['<tool_call>{"name":"empty_args"}'])[2][0][0]
        for seed in (None, None)
    )
    assert first != second
    assert first.startswith("call_")


def test_deltas_come_as_soon_as_they_are_certain():
    parser = OutputParser(Reading(ROWS["hermes"], TOOLS), seed=1)
    assert parser.push("Hello, ") == [Content("Hello,")]
    assert parser.push("you<tool") == [Content(" you")]
    assert parser.push('_call>{"name": "get_time", "arg') == []
    begin, start = parser.push('uments": {"ci')
    assert isinstance(begin, CallBegin)
    assert (begin.name, start) == ("get_time", CallArguments(0, '{"ci'))
    assert parser.push('ty": "Par') == [CallArguments(0, 'ty": "Par')]
    assert parser.push('is"}}</tool_call>') == [CallArguments(0, 'is"}')]
    assert parser.finish() == []


def test_long_answers_take_linear_time():
    """The text that was read is not kept."""
    parser = OutputParser(Reading(ROWS["hermes"], TOOLS))
    parser.push('<tool_call>{"name": "python", "arguments": {"code": "')
    for _ in range(1000):
        assert parser.push("x" * 100) == [CallArguments(0, "x" * 100)]
    assert len(parser._turn._text) <= 100

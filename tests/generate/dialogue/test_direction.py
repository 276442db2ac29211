"""What may, must and may not be called; thinking before it; budgets. Grammars need llguidance."""

from __future__ import annotations

import json
import sys

import pytest

from localllm.errors import GrammarError, UnsupportedError
from localllm.generate.dialogue import direct
from localllm.generate.dialogue.conversation import Conversation, ConversationError
from localllm.generate.dialogue.direct import directions
from localllm.generate.dialogue.formats import FORMATS, GENERIC
from localllm.generate.dialogue.parser import OutputParser, Reading
from localllm.generate.dialogue.shapes import SHAPES
from localllm.generate.dialogue.thinking import HARMONY, THINKING
from localllm.generate.grammar import Grammar
from tests.generate.dialogue.cases import tool
from tests.generate.dialogue.test_parser import parse
from tests.generate.dialogue.walks import WALKED, vocabulary, walk

ROWS = {row.name: row for row in (*FORMATS, GENERIC)}
USER = {"role": "user", "content": "ASK"}
THINK = next(t for t in THINKING if t.opening == "<think>")
GEMMA = next(t for t in THINKING if t.anywhere)
MARKERS = {
    **{name: {t for t in (*row.starts, *row.drops) if t != "functools["} for name, row in ROWS.items()},
    "mistral-args": {"[TOOL_CALLS]", "[ARGS]"},
    "mistral-id": {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"},
    "gemma4": {"<|tool_call>", "<tool_call|>", '<|"|>', "<|channel>", "<channel|>"},
    "deepseek": {"<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"},
    "harmony": {"<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>", "<|call|>", "<|return|>"},
    "deepseek-dsml": {"｜DSML｜"},
    "deepseek-v4": set(),
    "functiongemma": {"<start_function_call>", "<end_function_call>", "<escape>"},
    "gigachat3": {"<|message_sep|>", "<|role_sep|>"},
    "internlm": {"<|action_start|>", "<|action_end|>", "<|plugin|>"},
    "llama4": {"<|python_start|>", "<|python_end|>"},
    "minicpm5": set(),
}


def asked(**options):
    return Conversation([USER], **{"tools": WALKED, **options})


def directed(name, conversation, tokenizer=None, **reading):
    """The constraint of an answer, and its parser."""
    row = ROWS[name]
    how = Reading(row, conversation.callable_tools, **reading)
    tokenizer = tokenizer or vocabulary(tuple(sorted(MARKERS[name])))
    return tokenizer, directions(tokenizer, conversation, how, row), OutputParser(how, seed=1)


def check_calls(calls):
    """They meet the schemas of WALKED."""
    for _, name, text in calls:
        arguments = json.loads(text)
        if name == "get_time":
            assert arguments["city"] in ("Rome", 'a "b"')
            assert 1 <= arguments["day"] <= 31
            assert isinstance(arguments.get("utc", True), bool)
            assert arguments.keys() <= {"city", "day", "utc"}
        elif name == "set_todos":
            assert set(arguments["todos"]) <= {"x", "y"}
            assert 1 <= len(arguments["todos"]) <= 2
            assert arguments.get("note", "n") == "n"
        else:
            assert (name, arguments) == ("no_arguments", {})


@pytest.mark.parametrize("special", ["control", "plain"])
@pytest.mark.parametrize("name", SHAPES)
def test_required_calls_are_valid(name, special):
    tokenizer = vocabulary(tuple(sorted(MARKERS[name])) if special == "control" else ())
    names = set()
    for seed in range(8):
        parallel = seed % 2 == 0
        how = asked(tool_choice="required", parallel_tool_calls=parallel)
        _, constraint, parser = directed(name, how, tokenizer)
        text, ended = walk(tokenizer, constraint, "I would rather talk.", seed)
        assert ended
        content, reasoning, calls = parse(parser, text)
        assert (content.strip(), reasoning) == ("", ""), text
        assert len(calls) == 1 if not parallel else len(calls) >= 1
        check_calls(calls)
        names |= {call[1] for call in calls}
    assert len(names) > 1


@pytest.mark.parametrize("name", SHAPES)
def test_a_named_function_is_called(name):
    for seed in range(3):
        tokenizer, constraint, parser = directed(name, asked(tool_choice="set_todos"))
        calls = parse(parser, walk(tokenizer, constraint, "No.", seed)[0])[2]
        assert {call[1] for call in calls} == {"set_todos"}
        check_calls(calls)


@pytest.mark.parametrize("name", SHAPES)
def test_calls_that_may_come_are_valid_where_they_begin(name):
    shape = SHAPES[name]
    before = "" if shape.at_start else "Well. "
    for text in (shape.trigger, *shape.more_triggers):
        for seed in range(3):
            tokenizer, constraint, parser = directed(name, asked())
            start = "<|end|>" + text if text.startswith("<|start|>") else text
            said, ended = walk(tokenizer, constraint, before * (name != "harmony") + start, seed, ends=False)
            assert ended or name == "harmony"
            content, _, calls = parse(parser, said)
            assert content.strip() in ("", before.strip(), "<|end|>")
            assert calls
            check_calls(calls)


@pytest.mark.parametrize("name", SHAPES)
def test_without_calls_an_answer_is_free(name):
    tokenizer, constraint, parser = directed(name, asked())
    text = '<|channel|>final<|message|>A {"name": 1} <tool> is here.' if name == "harmony" else 'A {"name": 1} [TOOL].'
    assert walk(tokenizer, constraint, text) == (text, True)
    assert parse(parser, text)[2] == ()


def test_calls_are_not_begun_where_none_are_wanted():
    tokenizer, constraint, _ = directed("hermes", asked(tool_choice="none"), vocabulary(user_defined=("<tool_call>",)))
    text, _ = walk(tokenizer, constraint, "Hi <tool_call>", n_tokens=30)
    assert text.startswith("Hi ")
    assert "<tool_call>" not in text
    assert directed("hermes", asked(tool_choice="none"), vocabulary())[1] is None
    assert directed("hermes", Conversation([USER]))[1] is None


def test_thinking_comes_before_a_required_call():
    tokens = vocabulary(("<think>", "</think>"))
    how = asked(tool_choice="get_time")
    for script, is_thinking in (("<think>\nHm <tool_call>.\n</think>", False), ("Hm <tool_call>.\n</think>", True)):
        _, constraint, parser = directed("hermes", how, tokens, thinking=THINK, is_thinking=is_thinking)
        text, ended = walk(tokens, constraint, script)
        assert ended
        content, reasoning, calls = parse(parser, text)
        assert (content, reasoning) == ("", "Hm <tool_call>.")
        assert "</think>\n\n<tool_call>" in text
        check_calls(calls)
        assert len(calls) >= 1


def test_an_answer_does_not_end_before_a_required_call():
    tokens = vocabulary(("<think>", "</think>"))
    _, constraint, _ = directed("hermes", asked(tool_choice="required"), tokens, thinking=THINK, is_thinking=True)
    text, ended = walk(tokens, constraint, "Hm", n_tokens=20)
    assert not ended
    assert text.startswith("Hm")


def test_content_keeps_to_a_grammar_after_thinking():
    schema = Grammar("json_schema", '{"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}')
    how = asked(tools=(), grammar=schema)
    tokens = vocabulary(("<think>", "</think>"))
    for script, said in (("<think>Hm</think>So: ", "Hm"), ("So: ", "")):
        _, constraint, parser = directed("hermes", how, tokens, thinking=THINK)
        content, reasoning, _ = parse(parser, walk(tokens, constraint, script)[0])
        assert json.loads(content)["a"] in (1, 2)
        assert reasoning == said


def test_content_by_a_grammar_or_a_call():
    how = asked(grammar=Grammar("regex", "yes|no"))
    tokens = vocabulary(("<tool_call>", "</tool_call>"))
    _, constraint, parser = directed("hermes", how, tokens)
    assert walk(tokens, constraint, "yes")[0] == "yes"
    assert walk(tokens, constraint, "I say no", seed=2)[0] in ("yes", "no")
    text, _ = walk(tokens, constraint, "<tool_call>", ends=False)
    content, _, calls = parse(parser, text)
    assert (content, len(calls) > 0) == ("", True)
    check_calls(calls)
    with pytest.raises(ConversationError, match="response_format: calls of this model cannot be told from content"):
        directed("llama3", how)


def test_content_of_harmony_has_its_channel():
    how = asked(tools=(), grammar=Grammar("regex", "yes|no"))
    tokens = vocabulary(tuple(sorted(MARKERS["harmony"])))
    _, constraint, parser = directed("harmony", how, tokens, thinking=HARMONY)
    assert walk(tokens, constraint, "I say")[0] in ("<|channel|>final<|message|>yes", "<|channel|>final<|message|>no")
    _, constraint, parser = directed("harmony", how, tokens, thinking=HARMONY, is_thinking=True)
    text, _ = walk(tokens, constraint, "Hm.<|end|>")
    assert text in [f"Hm.<|end|><|start|>assistant<|channel|>final<|message|>{word}" for word in ("yes", "no")]
    assert parse(parser, text)[1] == "Hm."


@pytest.mark.parametrize("special", ["control", "user_defined", "plain"])
@pytest.mark.parametrize("is_thinking", [True, False])
def test_a_budget_ends_thinking(special, is_thinking):
    tokens = vocabulary(**({} if special == "plain" else {special: ("<think>", "</think>")}))
    how = asked(tools=(), thinking_budget=6)
    opening = "" if is_thinking else "<think>"
    for script, thought, said in (
        ("Hm Hm Hm Hm", "Hm Hm ", ""),
        ("Hm</think>ok", "Hm", "ok"),
        ("Hm ööö ö", "Hm ö", ""),
    ):
        _, constraint, parser = directed("hermes", how, tokens, thinking=THINK, is_thinking=is_thinking)
        text, _ = walk(tokens, constraint, opening + script, n_tokens=60)
        content, reasoning, _ = parse(parser, text)
        if special == "plain" and said:  # what closes is counted, too, where it is no token of its own
            continue
        n = 1 if not is_thinking else 0  # the token that opens counts
        assert thought.startswith(reasoning) if n else reasoning == thought.strip() or reasoning.startswith(thought)
        assert content.startswith(said)


def test_a_budget_for_thinking_anywhere():
    tokens = vocabulary(tuple(sorted(MARKERS["gemma4"])))
    how = asked(tools=(), thinking_budget=5)
    _, constraint, parser = directed("gemma4", how, tokens, thinking=GEMMA)
    text, _ = walk(tokens, constraint, "Ok. <|channel>thought\nHm Hm Hm Hm", n_tokens=40)
    content, reasoning, _ = parse(parser, text)
    assert content.startswith("Ok.")
    assert "Hm Hm".startswith(reasoning)


def test_a_budget_for_harmony():
    tokens = vocabulary(tuple(sorted(MARKERS["harmony"])))
    for tools, choice in (((), "auto"), (WALKED, "auto"), (WALKED, "required")):
        how = asked(tools=tools, tool_choice=choice, thinking_budget=5)
        is_thinking = choice == "required"
        _, constraint, parser = directed("harmony", how, tokens, thinking=HARMONY, is_thinking=is_thinking)
        text, _ = walk(tokens, constraint, "Hm Hm Hm" if is_thinking else HARMONY.opening + "Hm Hm Hm", n_tokens=300)
        content, reasoning, calls = parse(parser, text)
        assert 0 < len(reasoning) <= 5
        assert "Hm Hm".startswith(reasoning)
        assert bool(calls) == is_thinking == (content == "")


def test_a_call_ends_thinking_where_models_leave_out_its_end():
    tokens = vocabulary(("<think>", "</think>"), ("<tool_call>",))
    _, constraint, parser = directed("qwen3.5", asked(), tokens, thinking=THINK, is_thinking=True)
    text, ended = walk(tokens, constraint, "Hm.\n<tool_call>\n<function=get_time>", ends=False)
    assert ended
    content, reasoning, calls = parse(parser, text)
    assert (content, reasoning, calls[0][1]) == ("", "Hm.", "get_time")
    check_calls(calls)


def test_schemas_that_no_grammar_can_hold(caplog):
    odd = tool("odd", a={"type": "string", "pattern": "(?=x)y"})
    _, constraint, _ = directed("hermes", asked(tools=[odd]), vocabulary())
    assert constraint is None
    assert "calls are not held to the schemas of their tools" in caplog.text
    with pytest.raises(GrammarError):
        directed("hermes", asked(tools=[odd], tool_choice="required"), vocabulary())
    strict = {"type": "function", "function": {**odd["function"], "strict": True}}
    with pytest.raises(GrammarError):
        directed("hermes", asked(tools=[strict]), vocabulary())


def test_without_llguidance_calls_are_free_but_not_forced(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.setattr(direct, "find_spec", lambda name: None)
    assert directed("hermes", asked(), vocabulary())[1] is None
    with pytest.raises(UnsupportedError, match=r"pip install 'localllm\[structured\]'"):
        directed("hermes", asked(tool_choice="required"), vocabulary())


def test_every_format_has_a_shape():
    assert set(SHAPES) == set(ROWS)

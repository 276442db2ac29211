"""Conversations through the templates of real models."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from typing import NamedTuple

import pytest

from localllm.generate.dialogue.capabilities import capabilities_of
from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.dialogue.formats import find_format
from localllm.generate.dialogue.parser import OutputParser
from localllm.generate.dialogue.prepare import prepare
from localllm.generate.dialogue.thinking import find_thinking
from tests.generate.dialogue.cases import TOOLS as ALL_TOOLS
from tests.generate.dialogue.fakes import TEMPLATES, TemplateModel, template
from tests.generate.dialogue.test_parser import parse

_PLAIN = ("special_function", "python", "get_time", "get_weather")
TOOLS = [tool for tool in ALL_TOOLS if tool["function"]["name"] in _PLAIN]
"""Hermes's template wants one plain type of every argument."""
QWEN = "<|im_start|>assistant\n"


class Row(NamedTuple):
    format: str
    end: str
    """Of the prompt, where nothing is said about thinking."""
    on: str = ""
    """Where it is wanted; "": the same."""
    off: str = ""
    """Where it is not wanted; "": the same."""
    thinking: str = ""
    lacks: str = ""
    """What templates have that this one has not: s(ystem), t(ools), c(alls), r(esults), p(arallel calls)."""
    shows_thoughts: bool = False
    """Of the last answer, before its calls."""


ROWS = {
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": Row(
        "command-r", "<|START_THINKING|><|END_THINKING|>", "<|CHATBOT_TOKEN|>", thinking="<|START_THINKING|>",
        shows_thoughts=True),
    "GLM-4.6": Row("glm", "ASK<|assistant|>", off="ASK/nothink<|assistant|>\n<think></think>", thinking="<think>",
                   shows_thoughts=True),
    "LFM2-8B-A1B": Row("lfm2", QWEN, lacks="cp"),
    "Mistral-Small-3.2-24B-Instruct-2506": Row("mistral-id", "[INST]ASK[/INST]"),
    "NVIDIA-Nemotron-Nano-v2": Row("nemotron", "Assistant\n<think>\n", off="<think>\n\n</think>\n\n",
                                   thinking="<think>"),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": Row("hermes", QWEN),
    "Qwen-Qwen2.5-7B-Instruct": Row("hermes", QWEN),
    "Qwen-Qwen3-0.6B": Row("hermes", QWEN, off=QWEN + "<think>\n\n</think>\n\n", thinking="<think>",
                           shows_thoughts=True),
    "Qwen3-Coder": Row("qwen3-coder", QWEN),
    "Qwen3.5-4B": Row("qwen3.5", QWEN + "<think>\n", off=QWEN + "<think>\n\n</think>\n\n", thinking="<think>",
                      shows_thoughts=True),
    "deepseek-ai-DeepSeek-V3.1": Row("deepseek", "<｜Assistant｜><think></think>", "<｜Assistant｜><think>",
                                     thinking="<think>", lacks="t"),
    "deepseek-ai-DeepSeek-V3.2": Row("deepseek-dsml", "<｜Assistant｜><think></think>", "<｜Assistant｜><think>",
                                     thinking="<think>", shows_thoughts=True),
    "google-gemma-2-2b-it": Row("generic", "<start_of_turn>model\n", lacks="stcrp"),
    "google-gemma-4-31B-it": Row("gemma4", "<|channel>thought\n<channel|>", "<|turn>model\n",
                                 thinking="<|channel>thought", shows_thoughts=True),
    "ibm-granite-granite-3.3-2B-Instruct": Row("granite", "assistant<|end_of_role|>", thinking="<think>", lacks="cp"),
    "ibm-granite-granite-4.0": Row("hermes", "assistant<|end_of_role|>"),
    "llama-cpp-deepseek-r1": Row("deepseek-r1", "<｜Assistant｜><think>\n", off="<think>\n\n</think>\n\n",
                                 thinking="<think>"),
    "meta-llama-Llama-3.1-8B-Instruct": Row("llama3", "assistant<|end_header_id|>\n\n", lacks="p"),
    "meta-llama-Llama-3.2-3B-Instruct": Row("llama3", "assistant<|end_header_id|>\n\n", lacks="p"),
    "microsoft-Phi-3.5-mini-instruct": Row("generic", "<|assistant|>\n", lacks="tcrp"),
    "mistralai-Ministral-3-14B-Reasoning-2512": Row("mistral-args", "[INST]ASK[/INST]", thinking="[THINK]",
                                                    shows_thoughts=True),
    "mistralai-Mistral-Nemo-Instruct-2407": Row("mistral", "[INST]ASK[/INST]"),
    "moonshotai-Kimi-K2": Row("kimi", "<|im_assistant|>assistant<|im_middle|>"),
    "openai-gpt-oss-120b": Row("harmony", "<|start|>assistant", thinking="<|channel|>analysis<|message|>", lacks="p",
                               shows_thoughts=True),
}  # fmt: skip
NEEDS_TOOLS = ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use",)

USER = {"role": "user", "content": "ASK"}
CALLS = [("get_time", {"city": 'Pa"ris\n{}'}), ("special_function", {"arg1": 3})]


def asked(*messages, **options):
    return Conversation([USER, *messages], **options)


def called(calls, **extra):
    """An assistant's message with calls, and their results."""
    listed = [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for i, (name, arguments) in enumerate(calls)
    ]
    results = [{"role": "tool", "tool_call_id": f"call_{i}", "content": f"RESULT{i}"} for i in range(len(calls))]
    return {"role": "assistant", "content": None, "tool_calls": listed, **extra}, *results


def test_every_template_is_tried():
    assert {path.stem for path in TEMPLATES.glob("*.jinja")} >= set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_what_templates_can(name):
    row, made = ROWS[name], template(name)
    can = capabilities_of(made)
    assert capabilities_of(made) is can
    assert find_format(made.source).name == row.format
    found = find_thinking(made.source, lambda text: False)
    assert (found.opening if found else "") == row.thinking
    has = {"s": can.system, "t": can.tools, "c": can.arguments, "r": can.results, "p": can.parallel_calls}
    assert "".join(letter for letter, there in has.items() if not there) == row.lacks


def test_what_is_known_of_a_template_goes_with_it():
    made = template("Qwen-Qwen2.5-7B-Instruct")
    assert capabilities_of(made).tools
    known = weakref.ref(capabilities_of(made))
    del made
    gc.collect()
    assert known() is None


@pytest.mark.parametrize("name", ROWS)
def test_beginnings_of_answers(name):
    row, model = ROWS[name], TemplateModel(template(name))
    tools = TOOLS if name in NEEDS_TOOLS else ()
    for wanted, end in ((None, row.end), (True, row.on or row.end), (False, row.off or row.end)):
        prepared = prepare(model, asked(thinking=wanted, tools=tools))
        assert prepared.prompt.endswith(end)
        content, reasoning, _ = parse(prepared.new_parser(), "a b")
        is_open = row.thinking and end.rstrip("\n").endswith(row.thinking)
        assert (content, reasoning) == (("", "a b") if is_open else ("a b", ""))


@pytest.mark.parametrize("name", ROWS)
def test_calls_and_results_are_shown_and_read(name):
    row, model = ROWS[name], TemplateModel(template(name))
    before = prepare(model, asked(tools=TOOLS, thinking=True if row.thinking else None))
    answered = asked(*called(CALLS, reasoning_content="THOUGHT"), tools=TOOLS, thinking=True if row.thinking else None)
    full = prepare(model, answered).prompt
    for text in ("ASK", "get_weather", "RESULT0", "RESULT1"):
        assert text in full
    assert ("THOUGHT" in full) == row.shows_thoughts
    # what the template writes for an answer is what the model writes: it is read as the same
    head, said = divided(full, before.prompt)
    how = before.new_parser()._reading
    how = replace(how, is_thinking=how.thinking is not None and how.thinking.is_open(head[head.index("ASK") :]))
    content, reasoning, calls = parse(OutputParser(how), said.partition("RESULT0")[0])
    assert [(call_name, json.loads(arguments)) for _, call_name, arguments in calls] == CALLS[
        : 1 if row.lacks == "p" else 2
    ]
    assert reasoning.strip() == ("THOUGHT" if row.shows_thoughts else "")
    assert not any(text in content for text in ("Pa", "arg1", "special_function"))


def divided(full, prompt):
    """What both texts begin with, up to a whole marker, and the rest of `full`."""
    n = next(i for i, (a, b) in enumerate(zip(full, prompt + "\0", strict=False)) if a != b)
    if full.rfind("<", 0, n) > full.rfind(">", 0, n):
        n = full.rfind("<", 0, n)
    return full[:n], full[n:]


@pytest.mark.parametrize("name", ROWS)
def test_an_answer_is_continued(name):
    row, model = ROWS[name], TemplateModel(template(name))
    tools = TOOLS if name in NEEDS_TOOLS else ()
    for begun in ({"content": "Hel"}, {"content": "Hel", "reasoning_content": "Hm"}):
        prepared = prepare(model, asked({"role": "assistant", **begun}, prefill=True, tools=tools))
        assert prepared.prompt.endswith("Hel")
        assert ("Hm" in prepared.prompt) == ("reasoning_content" in begun and bool(row.thinking))
        assert parse(prepared.new_parser(), "lo. {}")[:2] == ("lo. {}", "")
    thought = prepare(model, asked({"role": "assistant", "reasoning_content": "Hm"}, prefill=True, tools=tools))
    if row.thinking:
        assert thought.prompt.endswith("Hm")
        assert parse(thought.new_parser(), "m.")[:2] == ("", "m.")

"""Conversations through the templates of many models: nothing is dropped, and what they write is read as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from localllm.generate.dialogue.capabilities import capabilities_of
from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.dialogue.formats import find_format
from localllm.generate.dialogue.parser import OutputParser
from localllm.generate.dialogue.prepare import chat_ids, prepare
from localllm.generate.dialogue.thinking import find_thinking
from localllm.text import template as rendering
from tests.generate.dialogue.fakes import TemplateModel, template
from tests.generate.dialogue.test_parser import parse
from tests.generate.dialogue.test_templates import ROWS, called, divided
from tests.generate.dialogue.walks import vocabulary
from tests.text.record_templates import PATH, digest
from tests.text.template_cases import ASK, NOW, SAID, TOOLS
from tests.text.template_models import TEMPLATES


class Row(NamedTuple):
    format: str
    thinking: str = ""
    """Its opening."""
    lacks: str = ""
    """s(ystem), t(ools), c(alls), r(esults), p(arallel calls)."""


KNOWN = {
    "01-ai-Yi-1.5-9B-Chat": Row("generic", "", "tcp"),
    "ai21labs-AI21-Jamba-1.5-Mini": Row("jamba"),
    "Apertus-8B-Instruct": Row("apertus", "<|inner_prefix|>"),
    "Apriel-1.6-15b-Thinker-fixed": Row("tool-calls", "Here are my reasoning steps:"),
    "berkeley-nest-Starling-LM-7B-beta": Row("generic", "", "tcp"),
    "Bielik-11B-v3.0-Instruct": Row("hermes", "<think>"),
    "ByteDance-Seed-OSS": Row("seed", "<seed:think>"),
    "CofeAI-Tele-FLM": Row("generic", "", "tcrp"),
    "Cohere2MoE": Row("command-r", "<|START_THINKING|>"),
    "CohereForAI-c4ai-command-r-plus-tool_use": Row("generic"),
    "CohereLabs-aya-expanse-8b": Row("generic", "", "tcrp"),
    "CohereLabs-c4ai-command-a-03-2025": Row("command-r", "<|START_THINKING|>", "tcrp"),
    "CohereLabs-tiny-aya-earth": Row("generic", "", "tcrp"),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": Row("deepseek-r1", "<think>", "tcp"),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": Row("deepseek-r1", "<think>", "t"),
    "deepseek-ai-DeepSeek-V2.5": Row("generic", "", "tcrp"),
    "deepseek-ai-DeepSeek-V3": Row("deepseek-r1", "<think>", "t"),
    "deepseek-ai-DeepSeek-V4": Row("deepseek-v4", "<think>"),
    "deepseek-ai-DeepSeek-V4-Flash-0731": Row("deepseek-v4", "<think>"),
    "fireworks-ai-llama-3-firefunction-v2": Row("functools"),
    "GigaChat3-10B-A1.8B": Row("gigachat3", "", "p"),
    "GigaChat3.1-10B-A1.8B": Row("gigachat3.1", "", "p"),
    "GLM-4.7-Flash": Row("glm", "<think>"),
    "google-functiongemma-270m-it": Row("functiongemma", "", "t"),
    "google-gemma-3-4b-it": Row("generic", "", "tcrp"),
    "google-gemma-3n-E4B-it": Row("generic", "", "tcrp"),
    "google-gemma-4-E2B-it": Row("gemma4", "<|channel>thought"),
    "HuggingFaceH4-zephyr-7b-beta": Row("generic", "", "tcp"),
    "HuggingFaceTB-SmolLM3-3B": Row("generic", "<think>", "tcp"),
    "ibm-granite-granite-20b-functioncalling": Row("generic", "", "s"),
    "ibm-granite-granite-3.0-8b-instruct": Row("granite"),
    "ibm-granite-granite-4.1": Row("hermes"),
    "inclusionai-ling-3.0-flash": Row("glm", "<think>"),
    "internlm-internlm2_5-7b-chat": Row("internlm"),
    "Kimi-K2-Instruct": Row("kimi", "", "cp"),
    "Kimi-K2-Thinking": Row("kimi", "<think>", "cp"),
    "Kimi-K3": Row("generic"),
    "LFM2.5-8B-A1B": Row("lfm2", "<think>"),
    "LFM2.5-Instruct": Row("lfm2", "<think>", "cp"),
    "LGAI-EXAONE-EXAONE-3.5-7.8B-Instruct": Row("generic", "", "tcp"),
    "LGAI-EXAONE-EXAONE-4.0-1.2B": Row("hermes", "<think>"),
    "LiquidAI-LFM2-1.2B": Row("lfm2"),
    "LiquidAI-LFM2.5-230M": Row("lfm2", "<think>"),
    "llama-cpp-rwkv-world": Row("generic", "<think>", "tcrp"),
    "meetkai-functionary-medium-v3.1": Row("functionary"),
    "meetkai-functionary-medium-v3.2": Row("generic"),
    "meta-llama-Llama-2-7b-chat-hf": Row("generic", "", "tcrp"),
    "meta-llama-Llama-4-Scout-17B-16E-Instruct": Row("llama4"),
    "meta-llama-Meta-Llama-3-8B-Instruct": Row("generic", "", "tcp"),
    "microsoft-Phi-3-medium-4k-instruct": Row("generic", "", "stcrp"),
    "microsoft-Phi-3-mini-4k-instruct": Row("generic", "", "tcrp"),
    "microsoft-Phi-3-small-8k-instruct": Row("generic", "", "tcp"),
    "microsoft-phi-4": Row("generic", "", "tcrp"),
    "microsoft-Phi-4-mini-instruct": Row("functools"),
    "MiniMax-M1": Row("minimax-m1"),
    "MiniMax-M2": Row("minimax-m2", "<think>"),
    "MiniMax-M3": Row("hermes", "<mm:think>"),
    "mistralai-Ministral-8B-Instruct-2410": Row("mistral"),
    "mistralai-Mistral-7B-Instruct-v0.1": Row("generic", "", "stcrp"),
    "mistralai-Mistral-7B-Instruct-v0.2": Row("generic", "", "tcrp"),
    "mistralai-Mistral-7B-Instruct-v0.3": Row("mistral"),
    "mistralai-Mistral-Small-3.1-24B-Instruct-2503": Row("generic", "", "tcrp"),
    "mistralai-Mixtral-8x7B-Instruct-v0.1": Row("generic", "", "tcrp"),
    "muse-glimmer": Row("generic"),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": Row("qwen3.5", "<think>"),
    "nvidia-NVIDIA-Nemotron-3-Super": Row("qwen3.5", "<think>"),
    "nvidia-NVIDIA-Nemotron-3-Ultra": Row("qwen3.5", "<think>"),
    "nvidia-NVIDIA-Nemotron-3.5-Lightning": Row("qwen3.5", "<think>"),
    "openbmb-MiniCPM5-1B": Row("minicpm5", "<think>"),
    "poolside-Laguna-S-2.1": Row("glm", "<think>"),
    "poolside-Laguna-XS-2.1": Row("glm", "<think>"),
    "poolside-Laguna-XS.2": Row("glm", "<think>"),
    "Qwen-Qwen3-4B-Instruct-2507": Row("hermes"),
    "Qwen-Qwen3-4B-Thinking-2507": Row("hermes", "<think>"),
    "Qwen-Qwen3-8B": Row("hermes", "<think>"),
    "Qwen-Qwen3.6": Row("qwen3.5", "<think>"),
    "Qwen-Qwen3.8": Row("qwen3.5", "<think>"),
    "Qwen-QwQ-32B": Row("hermes", "<think>"),
    "Salesforce-Llama-xLAM-2-8b-fc-r": Row("llama3"),
    "Salesforce-xLAM-2-3b-fc-r": Row("generic"),
    "Spark2.5": Row("glm", "<think>"),
    "StepFun3.5-Flash": Row("qwen3.5", "<think>"),
    "Team-ACE-ToolACE-8B": Row("llama3"),
    "tencent-Hunyuan-A13B-Instruct": Row("tool-calls", "<think>"),
    "tencent-Hy3": Row("hy3"),
    "THUDM-chatglm2-6b": Row("generic", "", "stcrp"),
    "THUDM-glm-4-9b-chat": Row("glm", "", "scrp"),
    "tiiuae-falcon-180B-chat": Row("generic", "", "tcrp"),
    "tiiuae-falcon-7b-instruct": Row("generic", "", "stcrp"),
    "tiiuae-Falcon-H1-7B-Instruct": Row("hermes", "", "cp"),
    "unsloth-Apriel-1.5": Row("tool-calls", "Here are my reasoning steps:"),
    "unsloth-mistral-Devstral-Small-2507": Row("mistral-args"),
    "upstage-Solar-Open-100B": Row("generic"),
    "zai-org-GLM-4.5": Row("glm", "<think>"),
}
"""Those that test_templates.py does not try."""
UNREAD = {
    "Kimi-K3": "tags of its own around everything, <|open|>tools<|sep|>",
    "MiniMax-M3": "tags with names of arguments",
    "Team-ACE-ToolACE-8B": "it writes texts without quotes; its model has them",
    "THUDM-glm-4-9b-chat": "it tells a form of calls and shows none",
    "google-functiongemma-270m-it": "it tells of tools in a system message alone",
    "meetkai-functionary-medium-v3.2": "names of functions without any mark: >>> is in the prompt",
    "microsoft-Phi-4-mini-instruct": "it shows calls without a mark; its model has functools",
    "muse-glimmer": "a message for each recipient",
    "upstage-Solar-Open-100B": "a message for each kind of text",
}
"""What is not read as it was written -> why."""
RECORDED = json.loads(PATH.read_text())
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("get_weather", {"city": 'Pa"ris\n{}', "unit": "celsius"}),
    ("add", {"a": 3, "b": 2.5}),
]


def model(name):
    """Its vocabulary has what the model's has: where it thinks, the marks of that are tokens."""
    marks = ("<think:opensource>", "</think:opensource>") if name == "tencent-Hy3" else ()
    return TemplateModel(template(name), vocabulary(user_defined=marks))


def test_every_template_is_tried():
    assert KNOWN.keys() | ROWS.keys() == TEMPLATES.keys()
    assert not KNOWN.keys() & ROWS.keys()


@pytest.mark.parametrize("name", KNOWN)
def test_what_templates_can(name):
    made = template(name)
    can, found = capabilities_of(made), find_thinking(made.source, lambda text: False)
    has = {"s": can.system, "t": can.tools, "c": can.arguments, "r": can.results, "p": can.parallel_calls}
    lacks = "".join(letter for letter, there in has.items() if not there)
    assert Row(find_format(made.source).name, found.opening if found else "", lacks) == KNOWN[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_system_is_not_dropped(name):
    """Where a template shows none, its text stands before that of the first user; chat, run and the server do so."""
    made = model(name)
    said: list[Any] = [{"role": "system", "content": "Be terse."}, ASK, SAID, {"role": "user", "content": "MORE"}]
    prepared = prepare(made, Conversation(said))
    assert prepared.prompt.count("Be terse.") == prepared.prompt.count("MORE") == 1
    assert prepared.prompt.index(ASK["content"]) < prepared.prompt.index("MORE")
    if not capabilities_of(made.template).system:
        assert f"Be terse.\n\n{ASK['content']}" in prepared.prompt
    chat: Any = made
    assert chat_ids(chat, said) == prepared.ids


@pytest.mark.parametrize("name", TEMPLATES)
def test_calls_are_read_as_they_are_shown(name):
    made = model(name)
    thinks = find_thinking(template(name).source, lambda text: made.tokenizer.special_id(text) is not None)
    how: dict[str, Any] = {"tools": TOOLS, "thinking": True if thinks else None}
    before = prepare(made, Conversation([ASK], **how))
    full = prepare(made, Conversation([ASK, *called(CALLS, reasoning_content="THOUGHT")], **how)).prompt
    assert all(tool["function"]["name"] in before.prompt for tool in TOOLS)
    assert "RESULT0" in full
    assert "RESULT1" in full
    if name in UNREAD:
        return
    head, said = divided(full, before.prompt)
    reading = before.new_parser()._reading
    begun = head[head.index(ASK["content"]) :]
    reading = replace(reading, is_thinking=thinks is not None and thinks.is_open(begun))
    content, reasoning, calls = parse(OutputParser(reading), said.partition("RESULT0")[0])
    assert [(called_name, json.loads(arguments)) for _, called_name, arguments in calls] in (CALLS, CALLS[:1])
    assert reasoning.strip() == ("THOUGHT" if "THOUGHT" in full else "")
    marks = (thinks.opening, thinks.closing) if thinks else ()
    assert not any(text in content for text in ("Pa", "unit", "add", *marks))


@pytest.mark.parametrize("name", TEMPLATES)
def test_answers_that_think(name):
    """With thinking or without, an answer's thoughts are apart from it."""
    made = model(name)
    thinks = find_thinking(template(name).source, lambda text: made.tokenizer.special_id(text) is not None)
    for wanted in (True, False, None):
        prepared = prepare(made, Conversation([ASK], thinking=wanted))
        if thinks is None:
            assert parse(prepared.new_parser(), "a b") == ("a b", "", ())
            continue
        reading = prepared.new_parser()._reading
        opening = "" if reading.is_thinking else thinks.opening + thinks.lead
        assert parse(prepared.new_parser(), f"{opening}a{thinks.ending}b")[:2] == ("b", "a")


BEGUN = {
    "Apriel-1.6-15b-Thinker-fixed", "Cohere2MoE", "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai-DeepSeek-V3",
    "deepseek-ai-DeepSeek-V3.2", "GLM-4.7-Flash", "google-gemma-4-31B-it", "ibm-granite-granite-20b-functioncalling",
    "llama-cpp-deepseek-r1", "MiniMax-M2", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "NVIDIA-Nemotron-Nano-v2",
    "nvidia-NVIDIA-Nemotron-3-Super", "nvidia-NVIDIA-Nemotron-3-Ultra", "nvidia-NVIDIA-Nemotron-3.5-Lightning",
    "Qwen-QwQ-32B", "Spark2.5",
}  # fmt: skip
"""Their prompts for an answer are not the beginning of the answers that they show: most begin to think. What is to be
continued comes after that, thinking closed; transformers leaves the prompt's end out."""


@pytest.mark.parametrize("name", TEMPLATES)
def test_continued_messages(name, monkeypatch):
    """As transformers renders them with continue_final_message."""
    monkeypatch.setattr(rendering, "_now", NOW.strftime)
    expected = RECORDED[name]["continued"][0]
    prompt = prepare(model(name), Conversation([ASK, SAID], prefill=True)).prompt
    assert prompt.endswith(SAID["content"])
    assert not expected or (digest(prompt) == expected) == (name not in BEGUN)

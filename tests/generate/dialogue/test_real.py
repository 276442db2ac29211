"""A real model calls functions, held to their schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import localllm
from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.dialogue.prepare import prepare
from localllm.generate.params import Sampling
from tests.generate.dialogue.test_direction import check_calls
from tests.generate.dialogue.test_parser import parse
from tests.generate.dialogue.walks import WALKED

QWEN = Path("~/.cache/localllm-test-models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf").expanduser()
GEMMA = Path("~/.cache/localllm-test-models/gemma-3-270m-q4_k_m.gguf").expanduser()

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module", params=[QWEN, GEMMA], ids=["hermes", "generic"])
def model(request):
    if not request.param.exists():
        pytest.skip(f"{request.param.name} is not there")
    with localllm.load(request.param, n_ctx=2048) as loaded:
        yield loaded


def answer(model, text, max_tokens=200, **options):
    conversation = Conversation([{"role": "user", "content": text}], tools=WALKED, **options)
    prepared = prepare(model, conversation)
    said = model.answer(prepared.ids, Sampling(temperature=0.0), max_tokens, constraint=prepared.constraint)
    pieces = list(said)
    return parse(prepared.new_parser(), pieces), said.stats


@pytest.mark.parametrize("choice", ["required", "get_time", "set_todos"])
def test_a_forced_call_is_valid(model, choice):
    (content, reasoning, calls), stats = answer(
        model, "What is the time in Rome on the 3rd?", tool_choice=choice, parallel_tool_calls=False
    )
    assert stats.stop_reason == "stop"
    assert (content, reasoning, len(calls)) == ("", "", 1)
    assert choice in ("required", calls[0][1])
    check_calls(calls)


@pytest.mark.parametrize("model", [QWEN], indirect=True, ids=["hermes"])
def test_the_right_function_is_called_with_the_right_arguments(model):
    """Gemma 3 270M is too small for that."""
    (_, _, calls), _ = answer(model, "What is the time in Rome on the 3rd?", tool_choice="required")
    assert calls[0][1] == "get_time"
    assert json.loads(calls[0][2]) | {"utc": None} == {"city": "Rome", "day": 3, "utc": None}

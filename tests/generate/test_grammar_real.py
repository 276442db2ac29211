"""A real model under a schema, where one is present."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localllm import load
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.params import Sampling
from tests.generate.schemas import meets

PATH = Path.home() / ".cache" / "localllm-test-models" / "smollm2-135m-instruct-q4_1.gguf"
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "address": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 30}, "country": {"enum": ["Italy", "France"]}},
            "required": ["city", "country"],
            "additionalProperties": False,
        },
        "hobbies": {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "string", "maxLength": 20}},
    },
    "required": ["name", "age", "address", "hobbies"],
    "additionalProperties": False,
}
MESSAGES = [{"role": "user", "content": "Invent a person, as JSON."}]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PATH.is_file(), reason=f"{PATH} is not there")]


@pytest.fixture(scope="module")
def model():
    loaded = load(PATH)
    yield loaded
    loaded.close()


class Counted:
    """A constraint that counts what it lets the model choose."""

    def __init__(self, inner):
        self.inner, self.choices = inner, 0
        self.accept = inner.accept

    @property
    def finished(self):
        return self.inner.finished

    def mask(self, logits):
        self.choices += 1
        self.inner.mask(logits)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_schema(model, temperature):
    answer = model.chat(MESSAGES, json_schema=SCHEMA, temperature=temperature, seed=1)
    value = json.loads("".join(answer))
    assert meets(value, SCHEMA)
    assert answer.stats.stop_reason == "stop"


def test_the_model_chooses_less_than_two_thirds_of_the_tokens(model):
    """Keys and punctuation are forced: they are evaluated together with what follows."""
    compiled, made = compile_grammar(model.tokenizer, Grammar("json_schema", json.dumps(SCHEMA))), []

    def counted():
        made.append(Counted(compiled()))
        return made[0]

    ids = model.tokenizer.encode("A person as JSON: ", add_special=True)
    answer = model.answer(ids, Sampling(seed=1), constraint=counted)
    json.loads("".join(answer))
    assert made[0].choices * 3 < answer.stats.answer_tokens * 2

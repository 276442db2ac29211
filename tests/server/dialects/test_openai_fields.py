"""Fields that chat shares with completions and responses: forms, sampling, biases, those that are tolerated."""

from __future__ import annotations

import math
from typing import Any

from localllm.generate.grammar import Grammar
from localllm.generate.params import Sampling


def test_forms(chat, marked):
    def form(**body):
        got = chat(**body)
        return marked[-1].grammar if got.status == 200 else got.error["param"]

    schema = {"type": "array"}
    as_schema = Grammar("json_schema", '{"type":"array"}')
    assert form(response_format={"type": "text"}) is None
    assert form(response_format={"type": "json_object"}) == Grammar("json", "object")
    assert form(response_format={"type": "json_object", "schema": schema}) == as_schema
    strict = {"name": "list", "schema": schema, "strict": True}
    assert form(response_format={"type": "json_schema", "json_schema": strict}) == as_schema
    assert form(json_schema=schema) == form(guided_json=schema) == form(guided_json='{"type":"array"}') == as_schema
    assert form(structured_outputs={"json": schema}) == as_schema
    assert form(grammar='root ::= "a"') == Grammar("gbnf", 'root ::= "a"')
    assert form(guided_regex="a+") == form(structured_outputs={"regex": "a+"}) == Grammar("regex", "a+")
    assert form(guided_choice=["a", 'b"']) == Grammar("lark", 'start: "a" | "b\\""')
    assert form(structured_outputs={"json_object": True}) == Grammar("json", "object")
    assert form(structured_outputs={"json_object": False}) is None
    assert form(guided_grammar='start: "a"') == Grammar("lark", 'start: "a"')
    assert form(guided_regex="a", grammar="b") == "grammar"
    assert form(guided_regex="a" * 10_000_000) == "guided_regex"
    many = {"enum": ["a" * 10_000_000]}
    assert form(response_format={"type": "json_schema", "json_schema": {"schema": many}}) == "response_format"
    assert form(response_format={"type": "json_object"}, guided_regex="a") == "response_format"
    assert form(response_format={"type": "xml"}) == "response_format.type"
    assert form(response_format={"type": "json_schema"}) == "response_format.json_schema"


def test_sampling(chat):
    given: dict[str, Any] = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "typical_p": 0.8, "top_n_sigma": 1.0,
        "xtc_probability": 0.5, "xtc_threshold": 0.2, "dynatemp_range": 0.1, "dynatemp_exponent": 2.0,
        "repeat_penalty": 1.1, "repeat_last_n": 32, "frequency_penalty": 0.5, "presence_penalty": 0.25,
        "dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": 3, "dry_penalty_last_n": 16,
        "mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.2, "adaptive_target": 0.5, "adaptive_decay": 0.5,
        "min_keep": 2, "seed": 7,
    }  # fmt: skip
    got = chat(**given, samplers=["top_k", "temperature"], dry_sequence_breakers=["x"])
    expected = Sampling(**given, samplers=("top_k", "temperature"), dry_sequence_breakers=("x",))
    assert got.requests[-1].sampling == expected
    assert chat().requests[-1].sampling == Sampling()
    assert chat(**dict.fromkeys(given)).requests[-1].sampling == Sampling()
    assert chat(seed=-1).requests[-1].sampling.seed is None
    assert chat(repetition_penalty=1.2).requests[-1].sampling.repeat_penalty == 1.2
    wrong = chat(top_p=1.5)
    assert (wrong.status, wrong.error["param"]) == (400, "top_p")
    assert chat(samplers=["luck"]).error["param"] == "samplers"
    assert chat(temperature="hot").error["param"] == "temperature"


def test_biases(chat):
    def biases(given):
        got = chat(logit_bias=given)
        return dict(got.requests[-1].sampling.logit_bias) if got.status == 200 else got.error["param"]

    assert biases({"3": -100, "4": 2.5}) == {3: -100.0, 4: 2.5}
    assert biases([[3, 1.0], ["ab", False]]) == {3: 1.0, 1: -math.inf, 2: -math.inf}
    assert biases({}) == {}
    for wrong in ({"64": 1}, {"-1": 1}, [[1]], [[1, True]], [[1, "x"]], [[1.5, 1]], [[2**70, 1]]):
        assert biases(wrong) == "logit_bias"


def test_other_fields(chat):
    got = chat(ignore_eos=True, cache_prompt=False, user="eve").requests[-1]
    assert (got.ignore_eog, got.use_cache) == (True, False)
    assert got.user.endswith(" eve")
    tolerated = {"store": True, "metadata": {"a": "b"}, "service_tier": "auto", "verbosity": "low", "frobnicate": 1}
    assert chat(**tolerated, prediction={"type": "content", "content": "x"}, modalities=["text"]).status == 200
    assert chat(modalities=["text", "audio"]).error["param"] == "modalities"

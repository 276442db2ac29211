"""llama.cpp's paths, after the cases of its tools/server/tests/unit."""

from __future__ import annotations

import pytest

from localllm.engine.request import Ended, Said
from localllm.errors import LocalllmError
from localllm.generate.piece import Piece
from localllm.generate.stats import Stats
from localllm.server.dialects.llamacpp_answers import Clock
from tests.generate.fake import ALPHABET, EOG


def ids(text):
    return [ALPHABET.index(letter) for letter in text]


def test_a_completion(ask):
    got = ask("/completion", {"prompt": "abc", "n_predict": 3, "return_tokens": True})
    answer = got.json
    assert (got.status, answer["content"], answer["tokens"]) == (200, "hel", ids("hel"))
    assert (answer["stop"], answer["stop_type"], answer["stopping_word"], answer["truncated"]) == (
        True,
        "limit",
        "",
        False,
    )
    assert (answer["tokens_predicted"], answer["tokens_evaluated"], answer["model"]) == (3, 4, "fake")
    assert answer["prompt"] == "abc"
    assert answer["has_new_line"] is False
    assert answer["timings"]["prompt_n"] == 4
    assert answer["timings"]["predicted_per_token_ms"] > 0
    settings = answer["generation_settings"]
    assert (settings["n_predict"], settings["temperature"], settings["seed"]) == (3, 0.8, -1)
    assert {"adaptive_target", "dry_multiplier", "samplers", "mirostat"} <= settings.keys()


def test_ends(ask):
    assert ask("/completion", {"prompt": "a"}).json["stop_type"] == "eos"
    word = ask("/completion", {"prompt": "a", "stop": ["x", "l"]}).json
    assert (word["stop_type"], word["stopping_word"], word["content"]) == ("word", "l", "he")
    none = ask("/completion", {"prompt": "a", "n_predict": 0}).json
    assert (none["content"], none["stop_type"]) == ("", "limit")


def test_a_stream_adds_up_to_the_answer(ask):
    got = ask("/completion", {"prompt": "a", "stream": True, "n_probs": 2})
    *pieces, last = got.chunks
    assert "".join(piece["content"] for piece in pieces) == "hello"
    assert [token for piece in pieces for token in piece["tokens"]] == ids("hello")
    assert all(not piece["stop"] and len(piece["completion_probabilities"]) == 1 for piece in pieces)
    assert (last["stop"], last["content"], last["tokens"], last["stop_type"]) == (True, "", [], "eos")
    assert "generation_settings" in last
    assert "timings" not in pieces[0]


def test_progress_and_timings_where_they_are_asked_for(ask):
    body = {"prompt": "abc", "stream": True, "return_progress": True, "timings_per_token": True}
    first, second, *_ = ask("/completion", body).chunks
    assert first["prompt_progress"].items() >= {"total": 4, "cache": 0, "processed": 4}.items()
    assert first["tokens"] == []
    assert second["timings"]["predicted_n"] == 1
    assert all(value >= 0 for value in second["timings"].values())


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("ab", [[EOG, *ids("ab")]]),
        ([1, 2], [[1, 2]]),
        ([3, "ab", 4, "c"], [[3, 1, 2, 4, 3]]),
        (["ab", 3], [[EOG, 1, 2, 3]]),
        (["a", "b"], [[EOG, 1], [EOG, 2]]),
        (["a"], [[EOG, 1]]),
        ([[1, 2], "b"], [[1, 2], [EOG, 2]]),
        ([[1, "b"]], [[1, 2]]),
        ({"prompt_string": "ab"}, [[EOG, 1, 2]]),
        ([[7], {"prompt_string": "b"}], [[7], [EOG, 2]]),
    ],
)
def test_forms_of_prompts(ask, prompt, wanted):
    got = ask("/completions", {"prompt": prompt})
    assert got.status == 200
    assert sorted(list(request.ids) for request in got.requests) == sorted(wanted)
    answers = got.json if isinstance(got.json, list) else [got.json]
    assert [answer["index"] for answer in answers] == list(range(len(wanted)))
    assert isinstance(got.json, list) == (len(wanted) > 1)


def test_several_answers_to_several_prompts(ask):
    got = ask("/completion", {"prompt": ["a", "b"], "n_cmpl": 2})
    assert [answer["index"] for answer in got.json] == [0, 1, 2, 3]
    assert [answer["prompt"] for answer in got.json] == ["a", "a", "b", "b"]


def test_probabilities_after_sampling(ask):
    got = ask("/completion", {"prompt": "a", "n_probs": 2, "post_sampling_probs": True, "n_predict": 1})
    (told,) = got.json["completion_probabilities"]
    assert told["prob"] == pytest.approx(0.7788, abs=1e-4)
    assert [set(top) for top in told["top_probs"]] == [{"id", "token", "bytes", "prob"}] * 2
    assert got.requests[0].sampled_logprobs


def test_what_the_engine_is_asked(ask):
    body = {
        "prompt": "a", "n_predict": 2, "temperature": 0.5, "top_k": 7, "samplers": ["top_k", "temperature"], "seed": 3,
        "mirostat": 2, "dry_multiplier": 0.5, "ignore_eos": True, "cache_prompt": False, "stop": ["z"],
        "logit_bias": [[5, 1.0], ["b", False]], "n_probs": 3,
    }  # fmt: skip
    got = ask("/completion", body)
    request = got.requests[0]
    sampling = request.sampling
    assert (request.max_tokens, request.stop, request.logprobs, request.use_cache) == (2, ("z",), 3, False)
    assert request.ignore_eog
    assert (sampling.temperature, sampling.top_k, sampling.seed, sampling.mirostat) == (0.5, 7, 3, 2)
    assert sampling.samplers == ("top_k", "temperature")
    assert dict(sampling.logit_bias) == {5: 1.0, 2: float("-inf")}
    told = got.json["generation_settings"]["logit_bias"]
    assert {"id": 5, "bias": 1.0} in told
    assert {"id": EOG, "bias": None} in told
    assert len(got.json["completion_probabilities"][0]["top_logprobs"]) == 3


@pytest.mark.parametrize("form", [{"5": -100, "b": False}, [[5, -100], ["b", False]]])
def test_forms_of_biases(ask, form):
    got = ask("/completion", {"prompt": "a", "logit_bias": form})
    assert dict(got.requests[0].sampling.logit_bias) == {5: -100.0, 2: float("-inf")}


def test_fields_that_are_wanted(ask):
    wanted = ["content", "generation_settings/n_predict", "none", "content/none"]
    assert ask("/completion", {"prompt": "a", "n_predict": 2, "response_fields": wanted}).json == {
        "content": "he", "generation_settings/n_predict": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": [1, -2]}, "prompt"),
        ({"prompt": [64]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": {"prompt_string": "a", "multimodal_data": ["x"]}}, "prompt"),
        ({"prompt": "a", "n_predict": -2}, "n_predict"),
        ({"prompt": "a", "top_p": 1.5}, "top_p"),
        ({"prompt": "a", "n_cmpl": 0}, "n_cmpl"),
        ({"prompt": "a", "samplers": ["none"]}, "samplers"),
        ({"prompt": "a", "logit_bias": [[64, 1.0]]}, "logit_bias"),
        ({"prompt": "a", "lora": [{"id": 0, "scale": 1}]}, "lora"),
        ({"prompt": "a" * 65}, "prompt"),
    ],
)
def test_what_cannot_be_answered(ask, body, param):
    got = ask("/completion", body)
    assert got.status == 400
    assert got.error["type"] in ("invalid_request_error", "exceed_context_size_error")
    assert got.error.get("param") == param
    assert got.error["code"] == 400


def test_a_prompt_that_is_too_long_is_told_with_its_numbers(ask):
    error = ask("/completion", {"prompt": "a" * 70}).error
    assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == ("exceed_context_size_error", 71, 64)


def test_an_engine_that_fails_in_the_middle(serve):
    server = serve()
    server.engine.error = LocalllmError("not finite")
    got = server.client.post("/completion", json={"prompt": "a", "stream": True, "return_progress": True})
    assert got.status_code == 200
    assert got.text.split("\n\n")[1] == 'data: {"error":{"code":500,"message":"not finite","type":"server_error"}}'


class Stopped:
    is_stopped = False

    def stop(self):
        self.is_stopped = True


def test_a_time_limit_waits_for_a_line():
    now = iter((0.0, 0.5, 2.0))
    answer = Stopped()
    clock = Clock(1000, answer, lambda: next(now))
    for text, is_stopped in (("a", False), ("b\n", False), ("c", True), ("d", True)):
        clock.seen(Said(0, Piece(text, (1,))))
        assert answer.is_stopped == is_stopped
    cancelled = Ended(0, Stats(stop_reason="cancelled"))
    assert clock.seen(cancelled) == Ended(0, Stats(stop_reason="deadline"))
    assert Clock(1000, Stopped(), lambda: 0.0).seen(cancelled) == cancelled


def test_tokens_and_texts(ask):
    assert ask("/tokenize", {"content": "abc"}).json == {"tokens": [1, 2, 3]}
    assert ask("/tokenize", {"content": "a", "add_special": True}).json == {"tokens": [EOG, 1]}
    assert ask("/tokenize", {"content": [5, "a"]}).json == {"tokens": [5, 1]}
    pieces = ask("/tokenize", {"content": "ab", "with_pieces": True}).json["tokens"]
    assert pieces == [{"id": 1, "piece": "a"}, {"id": 2, "piece": "b"}]
    assert ask("/tokenize", {}).json == {"tokens": []}
    assert ask("/tokenize", {"prompt": "a"}).json == {"tokens": [EOG, 1]}  # as vLLM has it
    assert ask("/tokenize", {"prompt": "a", "add_special_tokens": False}).json == {"tokens": [1]}
    assert ask("/detokenize", {"tokens": [1, 2]}).json == {"content": "ab", "prompt": "ab"}
    assert ask("/detokenize", {"tokens": [99]}).status == 400
    assert ask("/tokenize", {"content": [-1]}).status == 400


def test_the_template(ask):
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert ask("/apply-template", body).json == {"prompt": "u:hi\na:"}


def test_props_and_slots(ask):
    props = ask("/props", None, method="GET").json
    assert (props["total_slots"], props["model_alias"], props["model_path"]) == (2, "fake", "fake")
    assert props["default_generation_settings"]["n_ctx"] == 64
    assert props["default_generation_settings"]["params"]["top_k"] == 40
    slots = ask("/slots", None, method="GET").json
    assert [(slot["id"], slot["n_ctx"], slot["is_processing"]) for slot in slots] == [(0, 64, False), (1, 64, False)]
    assert ask("/slots?fail_on_no_slot=1", None, method="GET").status == 200


def test_slots_of_a_model_that_is_not_loaded(ask):
    assert ask("/slots", None, method="GET").json == []
    assert ask("/slots?fail_on_no_slot=1", None, method="GET").status == 503
    assert ask("/slots?model=none", None, method="GET").status == 404


def test_switched_off(ask):
    assert ask("/slots", None, method="GET", slots=False).status == 501
    assert ask("/metrics", None, method="GET", metrics=False).status == 501


def test_health(serve):
    server = serve()
    assert server.client.get("/health").json() == {"status": "ok"}
    server.models.is_starting = True
    got = server.client.get("/v1/health")
    assert (got.status_code, got.json()["error"]["message"]) == (503, "Loading model")
    server.models.is_starting = False
    server.client.post("/completion", json={"prompt": "a"})
    server.engine.alive = False
    assert server.client.get("/health").status_code == 503


COUNTERS = (
    "prompt_tokens_total", "prompt_tokens_cached_total", "prompt_seconds_total", "tokens_predicted_total",
    "tokens_predicted_seconds_total", "n_decode_total", "n_tokens_max",
)  # fmt: skip
GAUGES = ("prompt_tokens_seconds", "predicted_tokens_seconds", "requests_processing", "requests_deferred")


def test_figures(serve):
    server = serve()
    server.client.post("/completion", json={"prompt": "abc"})
    server.client.get("/none")
    server.engine.totals.answer_tokens = 5
    got = server.client.get("/metrics")
    assert got.headers["process-start-time-unix"].isdecimal()
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = got.text.splitlines()
    for name in (*COUNTERS, *GAUGES):
        kind = "counter" if name in COUNTERS else "gauge"
        assert f"# TYPE llamacpp:{name} {kind}" in lines
        assert any(line.startswith(f"# HELP llamacpp:{name} ") for line in lines)
    assert "llamacpp:tokens_predicted_total 5" in lines
    assert "llamacpp:n_tokens_max 9" in lines
    assert 'localllm_answer_tokens_total{model="fake"} 5.0' in lines
    assert 'localllm_http_requests_total{path="/completion",status="200"} 1.0' in lines
    assert 'localllm_http_requests_total{path="(unknown)",status="404"} 1.0' in lines
    assert 'localllm_first_token_seconds_count{model="fake"} 1.0' in lines

"""/v1/completions by the fake model, which says its script."""

from __future__ import annotations

import pytest

from localllm.engine.request import Ended, PromptRead, Said
from localllm.errors import LocalllmError
from localllm.generate.piece import Piece, TokenLogprob
from localllm.generate.stats import Stats

PATH = "/v1/completions"


@pytest.fixture
def complete(ask):
    return lambda script="hello", **body: ask(PATH, {"prompt": "ab", **body}, script)


def texts(got):
    return [choice["text"] for choice in got.json["choices"]]


def test_an_answer(complete):
    got = complete(model="fake")
    assert got.json["id"].startswith("cmpl-")
    assert got.json["object"] == "text_completion"
    assert got.json["choices"] == [{"index": 0, "text": "hello", "logprobs": None, "finish_reason": "stop"}]
    assert (got.json["usage"]["prompt_tokens"], got.json["usage"]["total_tokens"]) == (3, 8)
    assert got.json["timings"]["prompt_n"] == 3
    assert list(got.requests[-1].ids) == [0, 1, 2]  # begun as the model wants it


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("ab", [[0, 1, 2]]),
        (["ab", "c"], [[0, 1, 2], [0, 3]]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (["a", [3]], [[0, 1], [3]]),
        (None, [[0]]),
    ],
)
def test_prompts(complete, prompt, ids):
    got = complete(prompt=prompt)
    assert sorted(list(request.ids) for request in got.requests) == sorted(ids)
    assert texts(got) == ["hello"] * len(ids)
    assert got.json["usage"]["prompt_tokens"] == sum(map(len, ids))
    assert got.json["usage"]["completion_tokens"] == 5 * len(ids)


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ([], "prompt"),
        ([1, "a"], "prompt"),
        ([[1], 2], "prompt"),
        ([64], "prompt"),
        ([[1], [-1]], "prompt[1]"),
        ([[]], "prompt[0]"),
        ([1.5], "prompt[0]"),
        ({"a": 1}, "prompt"),
        (["a"] * 2049, "prompt"),
    ],
)
def test_prompts_that_cannot_be(complete, prompt, param):
    got = complete(prompt=prompt)
    assert (got.status, got.error["param"]) == (400, param)
    assert not got.requests


def test_a_prompt_that_is_too_long(complete):
    got = complete(prompt=["a", "a" * 64])
    assert (got.status, got.error["type"], got.error["param"]) == (400, "exceed_context_size_error", "prompt[1]")
    assert (got.error["n_prompt_tokens"], got.error["n_ctx"]) == (65, 64)


def test_many_prompts_do_not_fill_the_queue(complete):
    got = complete(prompt=["a"] * 40, n=2)
    assert texts(got) == ["hello"] * 80
    assert [choice["index"] for choice in got.json["choices"]] == list(range(80))


def test_a_stream(complete):
    got = complete(stream=True, stream_options={"include_usage": True}, prompt=["ab", "c"], n=2)
    assert got.ended
    *chunks, last = got.chunks
    for index in range(4):
        mine = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert [choice["text"] for choice in mine] == [*"hello", ""]
        assert [choice["finish_reason"] for choice in mine] == [None] * 5 + ["stop"]
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == ([], 5, 20)
    assert "usage" not in complete(stream=True).chunks[-1]


def test_progress_of_the_prompt(complete):
    chunks = complete(stream=True, return_progress=True).chunks
    assert [c["prompt_progress"]["processed"] for c in chunks if "prompt_progress" in c] == [3]


@pytest.mark.parametrize(("prompt", "shown"), [("ab", "ab"), ([1, 2], "ab")])
def test_echo(complete, prompt, shown):
    assert texts(complete(prompt=prompt, echo=True, max_tokens=1)) == [shown + "h"]
    chunks = complete(prompt=prompt, echo=True, max_tokens=1, stream=True).chunks
    assert [chunk["choices"][0]["text"] for chunk in chunks] == [shown, "h", ""]


def test_logprobs(complete):
    logprobs = complete(logprobs=2, max_tokens=2).json["choices"][0]["logprobs"]
    assert logprobs == {
        "tokens": ["h", "e"],
        "token_logprobs": [-0.25, -0.25],
        "top_logprobs": [{"h": -0.25, "i": -1.25}, {"e": -0.25, "f": -1.25}],
        "text_offset": [0, 1],
    }
    assert complete(logprobs=0, max_tokens=1).json["choices"][0]["logprobs"]["top_logprobs"] == [{"h": -0.25}]
    assert complete(logprobs=21).error["param"] == "logprobs"
    assert complete(logprobs=-1).status == 400


def test_logprobs_of_a_prompt(complete):
    """What lm-eval's local-completions asks for, by ids and by text."""
    got = complete(prompt=[[1, 2, 3]], echo=True, logprobs=1, max_tokens=1, temperature=0)
    assert got.json["choices"][0]["text"] == "abch"
    assert got.json["choices"][0]["logprobs"] == {
        "tokens": ["a", "b", "c", "h"],
        "token_logprobs": [None, -0.25, -0.25, -0.25],
        "top_logprobs": [None, {"b": -0.25}, {"c": -0.25}, {"h": -0.25}],
        "text_offset": [0, 1, 2, 3],
    }
    got = complete(prompt="ab", echo=True, logprobs=1, max_tokens=0)
    assert got.json["choices"][0]["text"] == "ab"
    assert got.json["choices"][0]["finish_reason"] == "length"
    assert got.json["choices"][0]["logprobs"]["tokens"] == ["\0", "a", "b"]
    assert got.json["choices"][0]["logprobs"]["text_offset"] == [0, 0, 1]  # the first one is not in the text
    chunks = complete(prompt="ab", echo=True, logprobs=1, max_tokens=1, stream=True, n=2).chunks
    first = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == 1]
    assert [choice["text"] for choice in first] == ["ab", "h", ""]
    assert [choice["logprobs"] and choice["logprobs"]["text_offset"] for choice in first] == [[0, 0, 1], [2], None]


def test_tokens_of_one_text_and_no_chance(complete, monkeypatch):
    """The likelier of two tokens of the same text is told; JSON has no infinity."""
    from tests.server import fake_engine

    top = [(0, -0.5), (0, -2.0)]
    monkeypatch.setattr(fake_engine, "_logprob", lambda token, n: TokenLogprob(0, float("-inf"), top))
    logprobs = complete(logprobs=2, max_tokens=1).json["choices"][0]["logprobs"]
    assert logprobs["top_logprobs"] == [{"\0": -0.5}]
    assert logprobs["token_logprobs"] == [-9999.0]


def test_the_best_of_several(complete):
    def submit(self, request, on_event):
        for index, logprob in enumerate([-3.0, -1.0, -2.0]):
            on_event(Said(index, Piece("abc"[index], (1,), (TokenLogprob(1, logprob),))))
            on_event(Ended(index, Stats(prompt_tokens=1, answer_tokens=1, stop_reason="stop")))

    engine = complete().server.engine
    engine.submit = submit.__get__(engine)
    got = complete(best_of=3, n=2)
    assert texts(got) == ["b", "c"]
    assert [choice["index"] for choice in got.json["choices"]] == [0, 1]
    assert got.json["choices"][0]["logprobs"] is None
    assert got.json["usage"]["completion_tokens"] == 3
    assert complete(best_of=1, n=2).error["param"] == "best_of"
    assert complete(best_of=3, stream=True).error["param"] == "best_of"


def test_fill_in_the_middle(complete, monkeypatch):
    from tests.generate.fake import FakeTokenizer

    got = complete(suffix="c")
    assert got.status == 400
    assert "fill in the middle" in got.error["message"]
    names = ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id")
    monkeypatch.setattr(FakeTokenizer, "infill_ids", dict(zip(names, (40, 41, 42), strict=True)))
    assert list(complete(suffix="c").requests[-1].ids) == [0, 40, 1, 2, 41, 3, 42]
    assert complete(suffix="c", echo=True).error["param"] == "suffix"
    assert complete(suffix="c", prompt=[1]).error["param"] == "suffix"


def test_forms_are_compiled(complete, monkeypatch):
    monkeypatch.setattr(
        "localllm.server.dialects.openai_fields.compile_grammar", lambda tokenizer, grammar: grammar.kind
    )
    assert complete(guided_regex="a+").requests[-1].constraint == "regex"
    assert complete().requests[-1].constraint is None


def test_forms_that_cannot_be(complete):
    assert complete(guided_regex="(").error["param"] == "guided_regex"
    assert complete(structured_outputs={"json": {"type": "no"}}).error["param"] == "structured_outputs.json"
    assert complete(guided_regex="a", grammar="b").error["param"] == "grammar"
    assert complete(prompt=["a"] * 100, n=100).error["param"] == "prompt"


def test_what_the_engine_is_told(complete):
    request = complete(stop=["x"], seed=3, n=2, max_tokens=4, ignore_eos=True, cache_prompt=False, user="u").requests[
        -1
    ]
    assert (request.stop, request.sampling.seed, request.n, request.max_tokens) == (("x",), 3, 2, 4)
    assert (request.ignore_eog, request.use_cache, request.user.split()[-1]) == (True, False, "u")


def test_errors_of_the_engine(complete):
    engine = complete().server.engine
    engine.full = True
    assert complete(prompt=["a", "b"]).status == 429
    assert complete(stream=True).status == 429
    engine.full, engine.error = False, LocalllmError("broken")
    assert complete(prompt=["a", "b"]).error["message"] == "broken"


def test_the_end_token_is_told(complete):
    """By it an answer that ends at once has a token after its prompt, as lm-eval expects."""

    def submit(self, request, on_event):
        on_event(PromptRead([TokenLogprob(2, -1.0)]))
        on_event(Ended(0, Stats(prompt_tokens=2, stop_reason="stop"), ending=TokenLogprob(0, -0.5)))

    engine = complete().server.engine
    engine.submit = submit.__get__(engine)
    body = {"prompt": [1, 2], "echo": True, "logprobs": 0, "max_tokens": 1}
    logprobs = complete(**body).json["choices"][0]["logprobs"]
    assert (logprobs["tokens"], logprobs["token_logprobs"]) == (["a", "b", "\0"], [None, -1.0, -0.5])
    first, last = complete(**body, stream=True).chunks
    assert first["choices"][0]["logprobs"]["tokens"] == ["a", "b"]
    assert last["choices"][0]["logprobs"]["tokens"] == ["\0"]

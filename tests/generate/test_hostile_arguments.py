"""Calls of models, contexts and tokenizers with arguments that cannot be: an error of localllm's, of one line, or a
right answer; never another error, and the sequences hold what they held."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import localllm
from localllm.errors import LocalllmError
from localllm.gate.check import shown
from localllm.generate.params import Sampling
from localllm.model.sequences import Moment, Span
from tests.recorded import models
from tests.server import tiny

NAN, INF = float("nan"), float("inf")
NUMBERS: tuple[Any, ...] = (
    *(NAN, INF, -INF, 1.5, 1.0, 1e308, -1, -(2**63), 2**31, 2**63, 2**70, 10**5000, -(10**5000), True, 1j),
    *(np.int8(1), np.uint8(1), np.int16(3), np.int32(5), np.uint64(2), np.uint64(2**64 - 1), np.float32(1)),
)
OTHERS: tuple[Any, ...] = (
    *("1", b"1", bytearray(b"1"), "\ud800", "\0", None, object(), [], [1], (1,), {}, {1: 1}, {1: NAN}, {"a": 1}, {1}),
    *([(1,)], [(0, INF)], [(0, -INF)], ["\ud800"], ["", "x" * 50], [None], [b"a"], [[1]], [np.zeros(2)]),
    *(np.array(1), np.array([1]), np.array([1, 2]), np.array([1.0]), np.zeros((2, 2)), np.zeros((1, 256), "f4")),
)
VALUES = (*NUMBERS, *OTHERS)
N = 4


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("models") / "m.gguf")


@pytest.fixture(scope="module")
def model(path):
    with localllm.load(path, n_threads=1) as loaded:
        yield loaded


def answer_or_error(call: Callable[[Any], Any], value: Any) -> Any:
    try:
        return call(value)
    except LocalllmError as error:
        text = str(error)
        assert len(text) < 1000, shown(value)
        assert text.isprintable(), shown(value)
        return error
    except Exception as error:
        raise AssertionError(f"{shown(value)}: {type(error).__name__}: {error}") from error


OF_CONTEXT: dict[str, Callable[[Any, Any], Any]] = {
    "n_past": lambda c, v: c.n_past(v),
    "cut, sequence": lambda c, v: c.cut(v, N),
    "cut": lambda c, v: c.cut(1, v),
    "checkpoint": lambda c, v: c.checkpoint(v),
    "copy of": lambda c, v: c.copy(v, 1),
    "copy to": lambda c, v: c.copy(1, v),
    "save": lambda c, v: c.save(v),
    "restore, n_past": lambda c, v: c.restore(1, v, c.save(0)),
    "restore": lambda c, v: c.restore(1, N, v),
    "restore a part": lambda c, v: c.restore(1, N, [v] * len(c.save(0))),
    "reach, sequence": lambda c, v: c.reach(v, N),
    "reach": lambda c, v: c.reach(0, v),
    "span, sequence": lambda c, v: c.span(v, 0, N),
    "span, start": lambda c, v: c.span(0, v, N),
    "span, stop": lambda c, v: c.span(0, 0, v),
    "span_bytes": lambda c, v: c.span_bytes(0, v),
    "moment_bytes": lambda c, v: c.moment_bytes(v),
    "moment": lambda c, v: c.moment(0, v),
    "reach_of": lambda c, v: c.reach_of(c.moment(0, N), v),
    "resume, n_past": lambda c, v: c.resume(1, v, [c.span(0, 0, N)], c.moment(0, N)),
    "resume, spans": lambda c, v: c.resume(1, N, v, c.moment(0, N)),
    "resume, a span": lambda c, v: c.resume(1, N, [v], c.moment(0, N)),
    "resume, start": lambda c, v: c.resume(1, N, [Span(v, N, c.span(0, 0, N).content)], c.moment(0, N)),
    "resume, stop": lambda c, v: c.resume(1, N, [Span(0, v, c.span(0, 0, N).content)], c.moment(0, N)),
    "resume, content": lambda c, v: c.resume(1, N, [Span(0, N, v)], c.moment(0, N)),
    "resume, moment": lambda c, v: c.resume(1, N, [c.span(0, 0, N)], v),
    "resume, position": lambda c, v: c.resume(1, N, [c.span(0, 0, N)], Moment(v, N, c.moment(0, N).parts)),
    "resume, written": lambda c, v: c.resume(1, N, [c.span(0, 0, N)], Moment(N, v, c.moment(0, N).parts)),
    "resume, parts": lambda c, v: c.resume(1, N, [c.span(0, 0, N)], Moment(N, N, v)),
    "forward": lambda c, v: c.forward(v, None, [1] * (np.size(v) or 1)),
    "a token": lambda c, v: c.forward([v], None, [1]),
    "positions": lambda c, v: c.forward([1], v, [1]),
    "a position": lambda c, v: c.forward([1], [v], [1]),
    "seq_ids": lambda c, v: v is None or c.forward([1], None, v),
    "a sequence": lambda c, v: c.forward([1], None, [v]),
    "want_logits": lambda c, v: c.forward([1], None, [1], v),
    "a flag": lambda c, v: c.forward([1], None, [1], [v]),
    "stop": lambda c, v: c.forward([1], None, [1], stop=v),
    "embed": lambda c, v: c.embed([v], None, [1]),
    "project": lambda c, v: c.project(v, np.zeros((1, 256))),
    "project rows": lambda c, v: c.project("dense", v),
}  # fmt: skip
KINDS = ("llama", "gemma3", "mamba")


@pytest.mark.parametrize("kind", KINDS)
def test_contexts(kind, tmp_path):
    with localllm.load(models.write(tmp_path / "m.gguf", models.cases()[kind]), n_threads=1) as model:
        context = model.context(64, 2, 16)
        context.forward([1, 2, 3, 1], None, [0] * N)
        context.copy(0, 1)
        before = context.save(0)
        for name, call in OF_CONTEXT.items():
            for value in VALUES:
                got = answer_or_error(partial(call, context), value)
                if context.n_past(1) != N or not isinstance(got, LocalllmError):
                    context.copy(0, 1)
                assert context.n_past(0) == N, (name, shown(value))
                assert context.save(0) == before, (name, shown(value))
        context.close()


OF_MODEL: dict[str, Callable[[Any, Any], Any]] = {
    "n_ctx": lambda m, v: m.context(v).close(),
    "n_seq": lambda m, v: m.context(64, v).close(),
    "n_batch": lambda m, v: m.context(64, 1, v).close(),
    "logits": lambda m, v: m.logits(v),
    "an id": lambda m, v: m.logits([v]),
    "trace": lambda m, v: m.trace(v, n_ctx=64).close(),
    "texts": lambda m, v: m.embed(v, "mean"),
    "a text": lambda m, v: m.embed([v], "mean"),
    "pooling": lambda m, v: m.embed([[1]], v),
    "hidden_states": lambda m, v: m.hidden_states(v),
    "rank": lambda m, v: m.rank(v, v),
    "encode": lambda m, v: m.tokenizer.encode(v),
    "decode": lambda m, v: m.tokenizer.decode(v),
    "decode an id": lambda m, v: m.tokenizer.decode([v]),
    "token_bytes": lambda m, v: m.tokenizer.token_bytes(v),
    "token_text": lambda m, v: m.tokenizer.token_text(v),
    "generate": lambda m, v: m.generate(v, 1).close(),
    "max_tokens": lambda m, v: m.generate([1], v).close(),
    "stop": lambda m, v: m.generate([1], 1, stop=v).close(),
    "a stop": lambda m, v: m.chat([{"role": "user", "content": "a"}], 1, stop=[v]).close(),
    "chat": lambda m, v: m.chat(v, 1).close(),
    "a message": lambda m, v: m.chat([v], 1).close(),
    "a role": lambda m, v: m.chat([{"role": v, "content": "a"}], 1).close(),
    "a content": lambda m, v: m.chat([{"role": "user", "content": v}], 1).close(),
}


@pytest.mark.parametrize("name", OF_MODEL)
def test_models(name, model):
    for value in VALUES:
        answer_or_error(lambda value: OF_MODEL[name](model, value), value)


@pytest.mark.parametrize("name", ["n_ctx", "n_threads", "n_threads_batch", "kv_type", "swa_full", "precision"])
def test_loading(name, path):
    for value in VALUES:
        got = answer_or_error(lambda value: localllm.load(path, **{name: value}), value)
        if not isinstance(got, LocalllmError):
            got.close()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Sampling)])
def test_sampling(name, model):
    for value in VALUES:
        answer_or_error(lambda value: "".join(model.generate([1, 2], 2, **{name: value})), value)


def test_numbers_of_numpy_are_those_of_python(model):
    kinds: tuple[Any, ...] = (np.int8, np.uint8, np.int16, np.int32, np.uint64)
    for dtype in kinds:
        sizes = [model.context(n_ctx, n_seq, n_batch) for n_ctx, n_seq, n_batch in ((100, 2, 8), dtype((100, 2, 8)))]
        assert len({(c.n_bytes, c.scratch_bytes, type(c.n_ctx), type(c.n_seq), type(c.n_batch)) for c in sizes}) == 1
        assert np.array_equal(model.logits([1, 2]), model.logits(dtype([1, 2])))
        for context in sizes:
            context.close()
    same: Any = {"seed": np.int8(7), "temperature": np.float64(0.5), "top_k": np.uint8(40)}
    assert model.generate([1], 8, **same).text == model.generate([1], 8, seed=7, temperature=0.5, top_k=40).text


def test_texts_as_they_may_come(model):
    """Lone surrogates are read as U+FFFD; ids of 10 MB are refused for the context's length, not cut."""
    tokenizer = model.tokenizer
    assert tokenizer.encode("\ud800") == tokenizer.encode("\ufffd")
    assert "".join(model.generate([1, 2], 8, stop="")) is not None
    assert list(model.generate([1, 2], 8, seed=1, stop="ab")) == list(model.generate([1, 2], 8, seed=1, stop=["ab"]))
    with pytest.raises(localllm.errors.ContextFullError):
        model.generate("ab" * 5_000_000, 1)
    assert len(tokenizer.encode("a" * 1_000_000)) == 1_000_000

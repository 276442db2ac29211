"""The promise: an answer has the same bits as the same request alone, whatever runs beside it."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import localllm
from localllm.engine import slots
from localllm.engine.engine import Engine
from localllm.engine.options import EngineOptions
from localllm.engine.request import Request
from localllm.generate import prompt_cache
from localllm.generate.logprobs import token_logprob
from tests.at_length import one_of
from tests.engine.load import WAIT, Asking, alone, check, check_idle, random_requests
from tests.generate.test_chat_states import VOCABULARY
from tests.recorded import models

KINDS = {
    "llama": "attention",
    "gemma3": "windows",
    "mamba": "recurrent",
    "qwen3next": "attention and recurrent",
    "deepseek2": "latent rows",
    "lfm2": "short convolutions",
}
N_CTX, LONGEST = 200, 180


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    opened: dict[str, localllm.Model] = {}

    def loaded(name):
        if name not in opened:
            path = models.write(tmp_path_factory.mktemp("m") / f"{name}.gguf", models.cases()[name], **VOCABULARY)
            opened[name] = localllm.load(path, n_ctx=N_CTX, n_threads=2)
        return opened[name]

    yield loaded
    for model in opened.values():
        model.close()


@pytest.fixture(autouse=True)
def small_beginnings(monkeypatch):
    """The cache keeps short beginnings, too."""
    for name, value in (("MIN_TOKENS", 24), ("MIN_GAIN", 8), ("MARK", 8)):
        for module in (prompt_cache, slots):
            monkeypatch.setattr(module, name, value, raising=module is prompt_cache)


def options(rng, **more):
    return EngineOptions(
        n_ctx=N_CTX, n_seq=int(rng.integers(1, 7)), n_batch=int(rng.choice([16, 48, 512])),
        max_gap=float(rng.choice([0.0, 0.005, 1.0])), abort_seconds=0.0,
        cache_bytes=int(rng.choice([0, 1 << 20, 1 << 26])), **more,
    )  # fmt: skip


def break_off_some_passes(engine, rng):
    """One pass in ten is broken off as by a cancellation."""
    context = engine._turns.context
    forward = context.forward

    def forward_or_not(*arguments, stop, **more):
        if rng.random() < 0.1:
            stop[0] = 1
        return forward(*arguments, stop=stop, **more)

    vars(context)["forward"] = forward_or_not


def run(model, seed, n_requests, longest=LONGEST, **more):
    """Random requests in a random arrival; some are cancelled, by their own callback or from without."""
    rng = np.random.default_rng(seed)
    requests = random_requests(rng, n_requests, model.config.n_vocab, longest)
    engine = Engine(model, replace(options(rng), max_queue=n_requests, **more))
    break_off_some_passes(engine, np.random.default_rng(seed + 1))
    try:
        asked, cancelled = [], set()
        for request in requests:
            asked.append(Asking(request, int(rng.integers(1, 20)) if rng.random() < 0.1 else None))
            asked[-1].submit(engine)
            if rng.random() < 0.3:  # one of those before it comes to its end
                asked[int(rng.integers(len(asked)))].wait()
            if rng.random() < 0.1:
                cancelled.add(asked[int(rng.integers(len(asked)))])
                max(cancelled, key=asked.index).cancel()
        for asking in asked:
            asking.wait()
        check_idle(engine)
    finally:
        engine.close()
    for asking in asked:
        was_cancelled = asking in cancelled or asking.cancel_after is not None
        check(asking.answered, alone(model, asking.request, engine.n_ctx, 512), was_cancelled)
        if asking.request.prompt_logprobs is not None and not was_cancelled:
            check_prompt_logprobs(model, asking)
    return engine


def check_prompt_logprobs(model, asking):
    ids = asking.request.ids
    rows = model.logits(ids)
    expected = [token_logprob(rows[i], ids[i + 1], asking.request.prompt_logprobs) for i in range(len(ids) - 1)]
    assert asking.answered.prompt == expected


@pytest.mark.parametrize(("name", "seed"), [*itertools.product(KINDS, range(3))])
def test_answers_are_those_of_a_request_alone(load, name, seed):
    status = run(load(name), seed, 25).status()
    assert status.totals.cached_tokens
    assert status.totals.aborted


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_beginnings_from_the_disk_change_nothing(load, name, tmp_path):
    """The second engine finds what the first one has read."""
    run(load(name), 7, 15, cache_folder=tmp_path, cache_bytes=1 << 20)
    status = run(load(name), 7, 15, cache_folder=tmp_path, cache_bytes=1 << 20).status()
    assert status.cache is not None
    assert status.cache.hits
    assert status.cache.note == ""


@pytest.mark.parametrize("name", KINDS)
def test_a_beginning_that_several_read_at_once_is_read_once(load, name):
    model = load(name)
    engine = Engine(model, EngineOptions(n_ctx=N_CTX, n_seq=4, n_batch=48, cache_bytes=0))
    all_there = threading.Event()
    forward = engine._context.forward
    vars(engine._context)["forward"] = lambda *a, **more: all_there.wait(WAIT) and forward(*a, **more)
    stem = [(7 * i) % 80 for i in range(100)]
    tails = [[80 + i, *range(10 + i)] for i in range(4)]
    asked = [Asking(Request([*stem, *tail], max_tokens=1, ignore_eog=True)) for tail in tails]
    for asking in asked:
        asking.submit(engine)
    all_there.set()
    for asking in asked:
        assert asking.wait().reasons == ["length"]
    engine.close()
    assert engine.status().totals.prompt_tokens == len(stem) + sum(map(len, tails))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), one_of(5, itertools.product(KINDS, range(100, 110))))
def test_answers_are_those_of_a_request_alone_at_length(load, name, seed):
    run(load(name), seed, 120)


SMOLLM = Path("~/.cache/localllm-test-models/smollm2-135m-instruct-q4_1.gguf").expanduser()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM.exists(), reason="needs SmolLM2")
@pytest.mark.parametrize("seed", one_of(3, ((seed,) for seed in range(200, 203))))
def test_a_real_model(seed):
    with localllm.load(SMOLLM, n_ctx=1024) as model:
        run(model, seed, 25, longest=900, n_ctx=1024)

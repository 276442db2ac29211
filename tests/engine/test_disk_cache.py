"""The engine and its cache on disk: an engine started again goes on from what another one has read, with its bits."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from localllm.engine.engine import Engine
from localllm.engine.options import EngineOptions
from localllm.engine.request import Ended, Failed, Request, Said
from localllm.generate.params import Sampling
from localllm.generate.prompt_cache import Match
from localllm.generate.session import Model
from tests.generate.test_chat_states import VOCABULARY
from tests.generate.test_prompt_cache import prompt
from tests.recorded import models


@pytest.fixture(scope="module", params=["llama", "qwen3next"])
def model(request, tmp_path_factory):
    path = models.write(tmp_path_factory.mktemp("disk") / "m.gguf", models.cases()[request.param], **VOCABULARY)
    with Model.load(path, n_ctx=1024) as loaded:
        yield loaded


def said(engine, ids):
    """The answer's tokens, and how many of the prompt were known."""
    tokens: list[int] = []
    stats = None
    for event in engine.answer(Request(ids, Sampling(temperature=0.0), max_tokens=6)):
        assert not isinstance(event, Failed)
        if isinstance(event, Said):
            tokens += event.piece.tokens
        if isinstance(event, Ended):
            stats = event.stats
    assert stats is not None
    return tokens, stats.cached_tokens


@pytest.mark.parametrize("memory", [0, 1 << 28])
def test_an_engine_started_again_knows_the_prompt(model, tmp_path, memory):
    options = EngineOptions(n_seq=2, cache_bytes=memory, cache_folder=tmp_path / "prompts")
    ids = prompt(700)
    plain = Engine(model, EngineOptions(n_seq=2, cache_bytes=0))
    exact, _ = said(plain, ids)
    plain.close()
    for known in (0, 699):
        engine: Any = Engine(model, options)
        assert said(engine, ids) == (exact, known)
        engine.close()
    assert engine.status().cache.disk_bytes > 0


def written(engine):
    """Waits until something is on the disk: closing waits for a while only, which a busy machine may need."""
    end = time.monotonic() + 60
    while not engine.status().cache.disk_bytes and time.monotonic() < end:
        time.sleep(0.01)


def test_others_go_on_while_files_are_read(model, tmp_path, monkeypatch):
    options = EngineOptions(n_seq=2, cache_bytes=0, cache_folder=tmp_path / "prompts")
    ids = prompt(700)
    first = Engine(model, options)
    exact, _ = said(first, ids)
    written(first)
    first.close()
    may_go_on, load = threading.Event(), Match.load

    def slow(match):
        assert may_go_on.wait(60)
        return load(match)

    monkeypatch.setattr(Match, "load", slow)
    engine = Engine(model, options)
    ended = threading.Event()
    tokens: list[int] = []

    def hear(event):
        if isinstance(event, Said):
            tokens.extend(event.piece.tokens)
        if isinstance(event, Ended | Failed):
            ended.set()

    engine.submit(Request(ids, Sampling(temperature=0.0), max_tokens=6), hear)
    assert said(engine, prompt(300, 5))[1] == 0
    assert not ended.is_set()
    may_go_on.set()
    assert ended.wait(60)
    assert tokens == exact
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0, 600_000])
def test_small_folders_under_load(model, tmp_path, memory):
    """Files come and go while they are needed: answers keep their bits."""
    chance = random.Random(memory)
    stems = [prompt(n, seed) for seed, n in enumerate((420, 560, 700))]
    prompts = []
    for _ in range(14):
        stem = chance.choice(stems)
        prompts.append(stem[: chance.randrange(260, len(stem))] + prompt(chance.randrange(1, 120), chance.randrange(4)))
    plain = Engine(model, EngineOptions(n_seq=4, cache_bytes=0))
    exact = [said(plain, ids)[0] for ids in prompts]
    plain.close()
    for _ in range(2):
        engine: Any = Engine(
            model, EngineOptions(n_seq=2, cache_bytes=memory, cache_folder=tmp_path / "prompts", cache_disk=1_200_000)
        )
        order = [chance.randrange(len(prompts)) for _ in range(30)]
        with ThreadPoolExecutor(3) as threads:
            answers = list(threads.map(partial(said, engine), (prompts[i] for i in order)))
        assert [tokens for tokens, _ in answers] == [exact[i] for i in order]
        assert any(known for _, known in answers)
        engine.close()
        assert engine.status().cache.note == ""
        assert sum(path.stat().st_size for path in (tmp_path / "prompts").glob("*.prompt")) <= 1_200_000


def test_a_long_prompt_is_kept_piece_by_piece(model, tmp_path):
    engine = Engine(model, EngineOptions(n_ctx=3000, n_seq=1, cache_bytes=1 << 28))
    ids = prompt(2600)
    said(engine, ids)
    status = engine.status().cache
    assert status
    assert status.saved_tokens in (2599, 2600)
    assert said(engine, prompt(500, 3))[1] == 0
    assert said(engine, ids)[1] == 2599
    engine.close()


def test_what_is_in_a_slot_is_written_while_nothing_else_is_to_be_done(model, tmp_path):
    options = EngineOptions(n_seq=2, cache_bytes=0, cache_folder=tmp_path / "prompts")
    engine: Any = Engine(model, options)
    other = Engine(model, options)
    ids = prompt(700)
    said(engine, ids)
    turns, kept = engine._turns, threading.Event()
    keep_all = turns.keep_all

    def told():
        keep_all()
        kept.set()

    turns.keep_all = told
    said(engine, [1, 2, 3])
    assert kept.wait(60)
    engine._cache.close(60)
    assert said(other, ids)[1] >= 699
    other.close()
    engine.close()

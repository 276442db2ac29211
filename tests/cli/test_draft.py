"""--draft: who guesses the tokens to come."""

from __future__ import annotations

import importlib

import pytest

from tests.generate.fake import FakeModel

REPEATS = "abcdefgh abcdefgh abcdefgh abcdefgh"


@pytest.fixture
def guessed(monkeypatch):
    """What the passes of each context were fed. All guesses are tried: how long a pass took decides nothing here."""
    monkeypatch.setattr("localllm.generate.speculation.watch.Watch.size", lambda self, kind, room: room)

    def run(call, fake, *options, verb="run", stdin=None):
        fake.script = REPEATS
        n = len(fake.contexts)
        done = call(
            verb, "x.gguf", *(["ask:"] if verb == "run" else []), "--no-cache", "--temp", "0", *options, stdin=stdin
        )
        assert done.status == 0, done.err
        assert REPEATS in done.out
        return done, [len(tokens) for tokens in fake.contexts[n].calls]

    return run


def test_by_the_text_by_default(call, fake, guessed):
    _, plain = guessed(call, fake, "--draft", "off")
    done, passes = guessed(call, fake, "--stats")
    assert len(passes) < len(plain)
    assert " guesses right" in done.err


def test_by_a_small_model(call, fake, guessed, monkeypatch):
    small = FakeModel(REPEATS)
    common = importlib.import_module("localllm.cli.common")
    monkeypatch.setattr(common, "load_model", lambda name, n_ctx, n_threads: small)
    monkeypatch.setattr("localllm.generate.speculation.small_model._SURE", 0.5)
    _, passes = guessed(call, fake, "-md", "small.gguf")
    assert max(passes[1:]) > 1
    assert small.contexts[0].closed
    assert small.closed


def test_in_a_chat(call, fake, guessed):
    done, passes = guessed(call, fake, verb="chat", stdin=b"ask:\n")
    assert max(passes[1:]) > 1
    assert " guesses right" in done.err


def test_a_model_that_is_not_there(call, fake):
    done = call("run", "x.gguf", "ask:", "--draft", "nowhere.gguf")
    assert done.status == 1
    assert done.err.strip() == "localllm: nowhere.gguf: no such file"

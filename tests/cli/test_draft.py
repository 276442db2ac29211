"""--draft: who guesses the tokens to come."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from tests.generate.fake import ALPHABET, N_VOCAB, FakeModel

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


class Layer:
    """One that knows what repeats."""

    n_past, closed = 0, False

    def forward(self, tokens, hidden=None, want_logits=True, stop=None):
        self.n_past += len(tokens)
        text = REPEATS[:9]
        at = text.find(ALPHABET[tokens[-1]])
        return np.eye(N_VOCAB)[ALPHABET.index(text[(at + 1) % 9])]

    def cut(self, position):
        self.n_past = position
        return position

    def close(self):
        self.closed = True


@pytest.mark.parametrize("verb", ["run", "chat"])
def test_by_the_models_own_layer(call, fake, guessed, monkeypatch, verb):
    layer = Layer()
    monkeypatch.setattr(FakeModel, "predictor", lambda self, n_ctx=None, n_batch=512: layer)
    _, passes = guessed(call, fake, "--draft", "mtp", verb=verb, stdin=b"ask:\n" if verb == "chat" else None)
    assert max(passes[1:]) > 1
    assert layer.closed


def test_a_model_without_such_a_layer(call, fake):
    done = call("run", "x.gguf", "ask:", "--draft", "mtp")
    assert done.status == 2
    assert done.err.strip() == "localllm: fake.gguf: has no layer for multi-token prediction (MTP)"


def test_in_a_chat(call, fake, guessed):
    done, passes = guessed(call, fake, verb="chat", stdin=b"ask:\n")
    assert max(passes[1:]) > 1
    assert " guesses right" in done.err


def test_a_model_that_is_not_there(call, fake):
    done = call("run", "x.gguf", "ask:", "--draft", "nowhere.gguf")
    assert done.status == 1
    assert done.err.strip() == "localllm: nowhere.gguf: no such file"

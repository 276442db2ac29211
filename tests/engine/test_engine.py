"""The engine over the fake's context."""

from __future__ import annotations

import threading

import pytest

from localllm.engine.engine import Engine
from localllm.engine.options import EngineOptions
from localllm.engine.request import Ended, Failed, Reading, Request, Said
from localllm.errors import ContextFullError, LocalllmError, UsageError
from localllm.generate.params import Sampling
from tests.generate.fake import ALPHABET, FakeModel

GREEDY = Sampling(temperature=0)
WAIT = 20


def ids_of(text):
    return [ALPHABET.index(c) for c in text]


def request(prompt="say:", **options):
    return Request(ids_of(prompt), **{"sampling": GREEDY, **options})


class Listener:
    """Collects the events of a request, and lets a test wait for them."""

    def __init__(self):
        self.events = []
        self.news = threading.Condition()

    def __call__(self, event):
        with self.news:
            self.events.append(event)
            self.news.notify_all()

    def wait(self, found):
        with self.news:
            assert self.news.wait_for(lambda: found(self), WAIT), self.events

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def text(self, index=0):
        return "".join(said.piece.text for said in self.of(Said) if said.index == index)

    def ended(self, n=1):
        self.wait(lambda self: len(self.of(Ended)) == n or self.of(Failed))
        return self.of(Ended)


@pytest.fixture
def make():
    engines = []

    def made(model=None, **options):
        model = model or FakeModel()
        engines.append((model, Engine(model, EngineOptions(**options))))
        return engines[-1][1]

    yield made
    for model, engine in engines:
        engine.close()
        assert all(context.closed for context in model.contexts)


def test_one_answer(make):
    engine = make()
    events = list(engine.answer(request()))
    assert "".join(e.piece.text for e in events if isinstance(e, Said)) == "hello"
    assert isinstance(events[0], Reading)
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert (ended.stats.stop_reason, ended.stats.prompt_tokens, ended.stats.answer_tokens) == ("stop", 4, 5)


def test_many_answers_at_once(make):
    engine = make(n_seq=3)
    listeners = [Listener() for _ in range(10)]
    for i, listener in enumerate(listeners):
        engine.submit(request(f"{i}:"), listener)
    for listener in listeners:
        (ended,) = listener.ended()
        assert (listener.text(), ended.stats.stop_reason) == ("hello", "stop")


def test_what_does_not_fit_is_refused_at_once(make):
    engine = make(n_ctx=10)
    with pytest.raises(ContextFullError, match="11 tokens, the context holds 10"):
        engine.submit(request("0123456789:"), Listener())
    with pytest.raises(LocalllmError, match="empty"):
        engine.submit(request(""), Listener())
    with pytest.raises(UsageError, match="n is 0"):
        engine.submit(request(n=0), Listener())
    with pytest.raises(UsageError, match="token id 64 is not in the vocabulary of 64"):
        engine.submit(Request([64]), Listener())

"""What drives the engine over the fake's context: requests, who listens, and a gate that holds passes back."""

from __future__ import annotations

import threading

from localllm.engine.request import Ended, Failed, Request, Said
from localllm.generate.params import Sampling
from tests.generate.fake import ALPHABET

GREEDY = Sampling(temperature=0)
WAIT = 120


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


class Gate:
    """Lets a context's passes through one by one: `await_pass` returns when the next one has begun, `open` lets it go
    on, and all that follow."""

    def __init__(self, engine):
        self.context = engine._context
        self.context.before_pass = self._wait
        self._arrived, self._open = threading.Semaphore(0), threading.Semaphore(0)
        self.is_open = False

    def _wait(self, _context):
        if not self.is_open:
            self._arrived.release()
            assert self._open.acquire(timeout=WAIT)

    def await_pass(self):
        assert self._arrived.acquire(timeout=WAIT)

    def step(self):
        """Let the pass go on that has begun, and wait for the next one."""
        self._open.release()
        self.await_pass()

    def open(self):
        self.is_open = True
        self._open.release()


def start(engine, *requests):
    """Submit requests in one pass: the first one's pass is held back until all are there."""
    gate = Gate(engine)
    listeners = [Listener() for _ in requests]
    handles = []
    for request_, listener in zip(requests, listeners, strict=True):
        handles.append(engine.submit(request_, listener))
        if len(handles) == 1:
            gate.await_pass()
    return gate, listeners, handles


def fed(engine):
    """Tokens that were evaluated."""
    return sum(len(call) for call in engine._context.calls)

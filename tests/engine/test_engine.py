"""The engine over the fake's context."""

from __future__ import annotations

import random
import threading
import time

import pytest

from localllm.engine.engine import Engine
from localllm.engine.options import EngineOptions
from localllm.engine.request import Ended, Failed, PromptRead, Reading, Request, Said
from localllm.errors import ContextFullError, LocalllmError, QueueFullError, UsageError
from localllm.generate.logprobs import token_logprob
from localllm.generate.params import Sampling
from tests.generate.fake import ALPHABET, FakeModel

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


class TestSharing:
    def test_the_next_turn_reads_only_what_is_new(self, make):
        engine = make(n_seq=2)
        list(engine.answer(request("say:")))
        (*_, ended) = engine.answer(request("say:hello:"))
        assert ended.stats.cached_tokens == len("say:hello")
        assert engine._context.copies == []

    def test_what_is_in_use_is_copied(self, make):
        engine = make(n_seq=2)
        gate, (first, second), _ = start(engine, request("0123456789abc:"), request("0123456789abx:"))
        gate.open()
        first.ended()
        (ended,) = second.ended()
        assert ended.stats.cached_tokens == 8  # what the first pass has read of it
        assert engine._context.copies == [(0, 1)]
        assert (first.text(), second.text()) == ("hello", "hello")

    def test_what_is_worth_keeping_is_copied_too(self, make):
        """Of two slots one is empty: the long text of the other stays."""
        engine = make(n_seq=2)
        long = "0123456789" + "x" * 30 + ":"
        list(engine.answer(request(long)))
        (*_, ended) = engine.answer(request("0123456789:"))
        assert ended.stats.cached_tokens == 10
        assert engine._context.copies == [(0, 1)]
        (*_, ended) = engine.answer(request(long))
        assert ended.stats.cached_tokens == len(long) - 1

    def test_the_slot_that_was_used_longest_ago_is_taken(self, make):
        engine = make(n_seq=2)
        for prompt in ("abcdef:", "uvwxyz:", "123456:"):
            list(engine.answer(request(prompt)))
        again = ("uvwxyz:", "123456:", "abcdef:")
        assert [list(engine.answer(request(p)))[-1].stats.cached_tokens for p in again] == [6, 6, 0]

    def test_a_request_may_do_without(self, make):
        engine = make(n_seq=1)
        list(engine.answer(request("say:", use_cache=False)))
        for _ in range(2):
            (*_, ended) = engine.answer(request("say:", use_cache=False))
            assert ended.stats.cached_tokens == 0

    def test_a_prompt_that_another_one_reads_is_waited_for(self, make):
        """Both begin with 40 tokens; they are read once."""
        engine = make(n_seq=2)
        stem = "".join(ALPHABET[1 + i % 40] for i in range(40))
        gate, listeners, _ = start(engine, request(stem + "a:"), request(stem + "b:"))
        gate.open()
        ended = [listener.ended()[0] for listener in listeners]
        assert [e.stats.cached_tokens for e in ended] == [0, 40]
        assert fed(engine) == 42 + 2 + 2 * len("hello")

    def test_who_waits_for_one_that_is_cancelled_reads_it_alone(self, make):
        engine = make(n_seq=2)
        stem = "".join(ALPHABET[1 + i % 40] for i in range(40))
        gate, (first, second), (handle, _) = start(engine, request(stem + "a:"), request(stem + "b:"))
        gate.step()
        handle.cancel()
        gate.open()
        assert first.ended()[0].stats.stop_reason == "cancelled"
        assert second.ended()[0].stats.stop_reason == "stop"
        assert second.text() == "hello"


class TestSeveralAnswers:
    @pytest.mark.parametrize("n_seq", [1, 2, 3, 5])
    def test_the_prompt_is_read_once(self, make, n_seq):
        engine = make(n_seq=n_seq)
        listener = Listener()
        engine.submit(request("a longer prompt:", n=5), listener)
        assert sorted(e.index for e in listener.ended(5)) == [0, 1, 2, 3, 4]
        assert [listener.text(i) for i in range(5)] == ["hello"] * 5
        n_prompt, n_answer = len("a longer prompt:"), len("hello")
        assert fed(engine) == n_prompt + 5 * n_answer + 4  # each further answer needs the last token's logits

    def test_each_has_a_seed_of_its_own(self, make):
        model = FakeModel()
        engine = make(model, n_seq=2)
        listener = Listener()
        engine.submit(request("abc", n=3, max_tokens=10, sampling=Sampling(temperature=3.0, seed=7)), listener)
        listener.ended(3)
        alone = ["".join(model.generate(ids_of("abc"), 10, temperature=3.0, seed=7 + k)) for k in range(3)]
        assert [listener.text(k) for k in range(3)] == alone
        assert len(set(alone)) == 3

    def test_a_long_request_does_not_keep_others_waiting(self, make):
        engine = make(n_seq=1)
        gate, (many, other), _ = start(engine, request(n=6, user="a"), request("x:", user="b"))
        gate.open()
        many.ended(6)
        other.ended()
        n_before = sum(token == ids_of("x")[0] for call in engine._context.calls[: len(engine._context.calls) // 2]
                       for token in call)  # fmt: skip
        assert n_before == 1


def test_python_functions_may_change_the_logits(make):
    """Each answer's own tokens are told; one that breaks fails its request alone."""
    seen = []

    def no_l(ids, logits):
        seen.append(list(ids))
        logits[ALPHABET.index("l")] = -10.0

    engine = make(n_seq=2)
    listener = Listener()
    engine.submit(request(processors=(no_l,), max_tokens=3), listener)
    listener.ended()
    assert listener.text()[:2] == "he"
    assert "l" not in listener.text()
    assert seen[2] == ids_of("say:he")


class TestFairness:
    def test_users_take_turns(self, make):
        engine = make(n_seq=1)
        prompts = [("a", "1:"), ("a", "2:"), ("a", "3:"), ("b", "4:"), ("c", "5:")]
        gate, listeners, _ = start(engine, *(request(p, user=user) for user, p in prompts))
        gate.open()
        for listener in listeners:
            listener.ended()
        first = [call[0] for call in engine._context.calls if call[0] in ids_of("12345")]
        assert first == ids_of("12453")  # 2 came when user a was the only one

    def test_a_full_queue_refuses(self, make):
        engine = make(n_seq=1, max_queue=2)
        gate, _, _ = start(engine, request("1:"), request("2:"), request("3:"))
        with pytest.raises(QueueFullError, match="2 requests are waiting"):
            engine.submit(request("4:"), Listener())
        assert engine.status().totals.refused == 1
        assert engine.status().queue == 2
        gate.open()

    def test_no_memory_refuses(self, make, monkeypatch):
        monkeypatch.setattr("localllm.engine.engine.available_memory", lambda: 1 << 20)
        with pytest.raises(QueueFullError, match="memory is short"):
            make().submit(request(), Listener())


class TestEnds:
    def test_cancelled_in_the_queue(self, make):
        engine = make(n_seq=1)
        gate, (first, second), (_, handle) = start(engine, request("1:"), request("2:"))
        handle.cancel()
        handle.cancel()
        gate.open()
        (ended,) = second.ended()
        assert (ended.stats.stop_reason, second.text()) == ("cancelled", "")
        first.ended()
        assert first.text() == "hello"
        handle.cancel()
        assert engine.status().totals.cancelled == 1

    def test_cancelled_while_answering(self, make):
        engine = make(n_seq=2)
        gate, (first, second), (handle, _) = start(engine, request("1:", stop=["lx"]), request("2:"))
        for _ in range(3):
            gate.step()
        handle.cancel()
        gate.open()
        assert first.ended()[0].stats.stop_reason == "cancelled"
        assert first.text() == "hell"  # what was held back for the stop string is told
        second.ended()
        assert second.text() == "hello"

    def test_a_long_pass_is_broken_off_and_the_others_rows_are_evaluated_again(self, make, monkeypatch):
        engine = make(n_seq=2)
        gate, (first, second), (handle, _) = start(engine, request("0123456789:"), request("x:"))
        gate.step()  # from now on both have rows in each pass
        monkeypatch.setattr(engine._turns.pace, "seconds", lambda rows: 1e6)
        gate.step()
        handle.cancel()
        gate.open()
        assert first.ended()[0].stats.stop_reason == "cancelled"
        second.ended()
        assert second.text() == "hello"
        assert engine.status().totals.aborted == 1

    def test_a_short_pass_is_not_broken_off(self, make, monkeypatch):
        engine = make(n_seq=1)
        monkeypatch.setattr(engine._turns.pace, "seconds", lambda rows: 0.0)
        gate, (first,), (handle,) = start(engine, request("1:"))
        handle.cancel()
        gate.open()
        assert first.ended()[0].stats.stop_reason == "cancelled"
        assert engine.status().totals.aborted == 0

    def test_closing_the_iterator_cancels(self, make):
        engine = make(n_seq=1)
        events = engine.answer(request(max_tokens=None, ignore_eog=True))
        next(events)
        events.close()
        assert engine.drain(WAIT)
        assert engine.status().totals.cancelled + engine.status().totals.ended == 1

    def test_deadlines(self, make):
        """Of what runs, and of what waits."""
        engine = make(n_seq=1)
        begun = time.perf_counter()

        def until_it_is_over(_context):
            while time.perf_counter() < begun + 0.02:
                pass

        engine._context.before_pass = until_it_is_over
        listeners = [Listener() for _ in range(3)]
        for name, deadline, listener in zip("123", (0.01, 1e-6, 1e6), listeners, strict=True):
            engine.submit(request(f"{name}:", deadline=deadline), listener)
        reasons = [listener.ended()[0].stats.stop_reason for listener in listeners]
        assert reasons == ["deadline", "deadline", "stop"]

    def test_drain(self, make):
        engine = make(n_seq=1)
        gate, (first, second), _ = start(engine, request("1:"), request("2:"))
        assert not engine.drain(0.0)
        with pytest.raises(LocalllmError, match="shutting down"):
            engine.submit(request(), Listener())
        gate.open()
        assert engine.drain(WAIT)
        assert (first.text(), second.text()) == ("hello", "hello")

    def test_close_ends_what_runs_and_what_waits(self, make):
        engine = make(n_seq=1)
        gate, listeners, _ = start(engine, request("1:"), request("2:", n=3))
        closing = threading.Thread(target=engine.close)
        closing.start()
        gate.open()
        closing.join(WAIT)
        assert [e.stats.stop_reason for e in listeners[0].of(Ended)] == ["cancelled"]
        assert [e.stats.stop_reason for e in listeners[1].of(Ended)] == ["cancelled"] * 3
        engine.close()
        assert not engine.status().alive
        with pytest.raises(LocalllmError, match="shutting down"):
            engine.submit(request(), Listener())


class Raising:
    """A constraint that breaks at its third token."""

    finished = False

    def __init__(self):
        self.n = 0

    def mask(self, logits):
        pass

    def accept(self, token):
        self.n += 1
        if self.n == 3:
            raise RuntimeError("broken")
        return ()


class TestFaults:
    def check_the_other(self, engine, bad, match, n=1):
        """Next to a request that fails, others are answered, and its slots serve again."""
        listeners = [Listener() for _ in range(3)]
        for listener, wanted in zip(listeners, (request("1:"), bad, request("2:")), strict=True):
            engine.submit(wanted, listener)
        for listener in listeners:
            listener.ended(n)
        (failed,) = listeners[1].of(Failed)
        assert match in str(failed.error)
        assert isinstance(listeners[1].events[-1], Failed)
        assert (listeners[0].text(), listeners[2].text()) == ("hello", "hello")
        (*_, ended) = engine.answer(request("3:"))
        assert ended.stats.stop_reason == "stop"
        status = engine.status()
        assert (status.alive, status.totals.failed) == (True, 1)
        assert [slot.state for slot in status.slots] == ["idle"] * len(status.slots)

    @pytest.mark.parametrize("n", [1, 3])
    def test_logits_that_are_not_finite(self, make, n):
        class Broken(FakeModel):
            def logits_after(self, cells):
                out = super().logits_after(cells)
                if cells[0] == ALPHABET.index("!") and len(cells) > 4:
                    out[3] = float("nan")
                return out

        self.check_the_other(make(Broken(), n_seq=2), request("!bad:", n=n), "logit of token 3 is nan")

    def test_a_constraint(self, make, caplog):
        self.check_the_other(make(n_seq=2), request("4:", constraint=Raising), "this request failed: RuntimeError")
        assert "broken" in caplog.text

    def test_a_constraint_of_one_of_several_answers(self, make):
        """Answers that wait for a slot then do not take one any more."""
        engine = make(n_seq=1)
        made = []

        def new():
            made.append(Raising())
            made[-1].n = -100 if len(made) == 1 else 0
            return made[-1]

        listener = Listener()
        engine.submit(request("1:", n=4, constraint=new), listener)
        listener.wait(lambda listener: listener.of(Failed))
        assert engine.drain(WAIT)
        assert (listener.text(0), listener.text(1), listener.text(2)) == ("hello", "he", "")
        assert isinstance(listener.events[-1], Failed)
        totals = engine.status().totals
        assert (totals.failed, totals.ended, totals.answer_tokens) == (1, 0, 7)

    def test_a_callback(self, make, caplog):
        engine = make(n_seq=2)
        listener = Listener()

        def callback(event):
            raise RuntimeError("no")

        engine.submit(request("1:"), callback)
        engine.submit(request("2:"), listener)
        listener.ended()
        assert listener.text() == "hello"
        assert engine.drain(WAIT)
        assert engine.status().totals.failed == 1

    def test_the_loop(self, make, caplog):
        engine = make(n_seq=1)

        def crash(_context):
            raise RuntimeError("no")

        engine._context.before_pass = crash
        listeners = [Listener(), Listener()]
        engine.submit(request("1:"), listeners[0])
        listeners[0].ended()
        (failed,) = listeners[0].of(Failed)
        assert "the engine has stopped: RuntimeError" in str(failed.error)
        with pytest.raises(LocalllmError, match="the engine has stopped: RuntimeError"):
            engine.submit(request("2:"), listeners[1])
        assert not engine.status().alive
        assert engine.status().error == "RuntimeError"


class TestTelling:
    def test_reading_goes_on_in_pieces(self, make):
        engine = make(n_seq=1)
        events = list(engine.answer(request("0123456789012345678:")))
        reading = [e for e in events if isinstance(e, Reading)]
        assert reading == [Reading(n, 20, 0) for n in (0, 8, 16, 20)]
        assert events[: len(reading)] == reading

    def test_prompt_logprobs(self, make):
        model = FakeModel()
        engine = make(model, n_seq=2)
        list(engine.answer(request("0123456789:")))
        ids = ids_of("0123456789:")
        for n in (1, 2):
            events = list(engine.answer(request("0123456789:", prompt_logprobs=2, n=n)))
            (told,) = (e for e in events if isinstance(e, PromptRead))
            assert [t.token for t in told.logprobs] == ids[1:]
            for i, t in enumerate(told.logprobs):
                assert t == token_logprob(model.logits_after(ids[: i + 1]), ids[i + 1], 2)
            assert events[-1].stats.stop_reason == "stop"
        assert events[-1].stats.cached_tokens == len(ids) - 1  # of the second answer

    def test_the_prompt_alone_is_scored(self, make):
        events = list(make().answer(request("abc", prompt_logprobs=0, max_tokens=0)))
        assert [type(e) for e in events][-2:] == [PromptRead, Ended]
        assert (events[-1].stats.stop_reason, events[-1].stats.answer_tokens) == ("length", 0)

    def test_status(self, make):
        engine = make(n_seq=2)
        gate, _, _ = start(engine, request("0123456789:"), request("1:"), request("2:"))
        status = engine.status()
        assert [slot.state for slot in status.slots] == ["reading", "idle"]
        assert status.slots[0].n_prompt == 11
        assert status.queue == 2
        gate.step()
        gate.step()
        status = engine.status()
        assert [slot.state for slot in status.slots] == ["answering", "answering"]
        gate.open()
        engine.drain(WAIT)
        status = engine.status()
        totals = status.totals
        assert (totals.requests, totals.ended, totals.prompt_tokens) == (3, 3, 15)
        assert totals.answer_tokens == 15
        assert totals.passes == len(engine._context.calls)
        assert totals.prompt_seconds > 0
        assert totals.answer_seconds > 0
        assert status.last_pass_rows >= 1

    def test_a_loop_that_does_not_come_further_is_not_alive(self, make):
        engine = make(n_seq=1)
        gate, _, _ = start(engine, request())
        assert engine.status().alive
        engine._moved -= engine.options.stall_seconds + 1
        assert not engine.status().alive
        gate.open()
        engine.drain(WAIT)
        assert engine.status().alive

    def test_one_that_had_nothing_to_do_for_long_is_alive(self, make):
        engine = make(n_seq=1)
        list(engine.answer(request("1:")))
        engine._moved -= engine.options.stall_seconds + 1
        gate = Gate(engine)
        engine.submit(request("2:"), Listener())
        assert engine.status().alive
        gate.open()


@pytest.mark.parametrize("n_requests", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_slot_is_lost_after_many_cancels(make, n_requests):
    """Requests that are cancelled at some point, by some thread."""
    engine = make(n_seq=3, max_queue=2000)
    chance = random.Random(1)
    listeners = []
    for i in range(n_requests):
        listener = Listener()
        wanted = request(f"{i % 10}{i % 7}:", n=1 + i % 3, user=str(i % 4), max_tokens=30, ignore_eog=True)
        handle = engine.submit(wanted, listener)
        listeners.append((listener, wanted.n))
        if chance.random() < 0.5:
            threading.Thread(target=handle.cancel).start()
        elif chance.random() < 0.5:
            listener.wait(lambda listener: listener.events)
            handle.cancel()
    for listener, n in listeners:
        assert len(listener.ended(n)) == n
    assert engine.drain(WAIT)
    status = engine.status()
    assert status.alive
    assert [slot.state for slot in status.slots] == ["idle"] * 3
    totals = status.totals
    assert (totals.requests, totals.failed) == (n_requests, 0)
    assert totals.ended + totals.cancelled == n_requests
    assert totals.cancelled > n_requests // 10

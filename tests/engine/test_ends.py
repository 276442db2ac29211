"""How answers end over the fake's context: by themselves, by who asked, by faults."""

from __future__ import annotations

import random
import threading
import time

import pytest

from localllm.engine.request import Ended, Failed
from localllm.errors import LocalllmError, NotFiniteError, ShortageError
from tests.engine.driving import WAIT, Listener, request, start
from tests.generate.fake import ALPHABET, FakeModel


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

    def test_activations_that_are_not_finite(self, make):
        """The pass has changed nothing: its other rows are evaluated once more."""

        class Broken(FakeModel):
            def context(self, *args, **more):
                made = super().context(*args, **more)
                forward = made.forward

                def checked(tokens, positions=None, seq_ids=None, want_logits=None, stop=None):
                    bad = ALPHABET.index("!")
                    pairs = list(zip(seq_ids, tokens, strict=True))
                    guilty = {s for s, token in pairs if token == bad or bad in made.held[s]}
                    if guilty and len(pairs) > 1:
                        raise NotFiniteError("m.gguf: layer 3, blk.3.ffn_down: ...", tuple(guilty))
                    return forward(tokens, positions, seq_ids, want_logits, stop)

                made.forward = checked
                return made

        self.check_the_other(make(Broken(), n_seq=2), request("!bad:"), "layer 3, blk.3.ffn_down")

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

    @pytest.mark.parametrize(
        ("error", "words"),
        [(MemoryError(), "not enough memory"), (RuntimeError("can't start new thread"), "no more threads")],
    )
    def test_what_the_system_gives_no_more_of(self, make, caplog, error, words):
        """Named as such, to all that were answered, and without a trace in the log."""
        engine = make(n_seq=2)

        def short(_context):
            raise error

        engine._context.before_pass = short
        listener = Listener()
        engine.submit(request("1:"), listener)
        listener.ended()
        (failed,) = listener.of(Failed)
        assert isinstance(failed.error, ShortageError)
        assert words in str(failed.error)
        assert words in engine.status().error
        assert "Traceback" not in caplog.text


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

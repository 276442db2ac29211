"""What the engine tells, over the fake's context."""

from __future__ import annotations

from localllm.engine.request import Ended, PromptRead, Reading
from localllm.generate.logprobs import token_logprob
from tests.engine.driving import WAIT, Gate, Listener, ids_of, request, start
from tests.generate.fake import FakeModel


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

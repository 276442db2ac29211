"""The engine over the fake's context: answers side by side, shared beginnings, turns."""

from __future__ import annotations

import pytest

from localllm.engine.request import Ended, Reading, Request, Said
from localllm.errors import ContextFullError, LocalllmError, QueueFullError, UsageError
from localllm.generate.params import Sampling
from tests.engine.driving import Listener, fed, ids_of, request, start
from tests.generate.fake import ALPHABET, FakeModel


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

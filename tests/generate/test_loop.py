from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest

from localllm.errors import ContextFullError, LocalllmError
from localllm.generate.loop import Tape, drive
from localllm.generate.params import Sampling
from localllm.generate.piece import Piece
from localllm.generate.sampling import Sampler
from localllm.generate.sequence import AnswerSequence
from tests.generate.fake import ALPHABET, BOS, N_VOCAB, FakeContext, FakeModel, FakeStream

GREEDY = Sampling(temperature=0)
EOG = frozenset({0})


def ids_of(text):
    return [BOS] + [ALPHABET.index(c) for c in text]


def sequence_of(context, prompt="say:", eog=EOG, max_tokens=None, sampling=GREEDY):
    return AnswerSequence(
        ids_of(prompt), Sampler(sampling), FakeStream(), n_ctx=context.n_ctx, eog_ids=eog, max_tokens=max_tokens
    )


def run(context, *arguments, tape=None, **options):
    sequence = sequence_of(context, *arguments, **options)
    pieces = list(drive(tape or Tape(context), sequence))
    ids = [token for piece in pieces for token in piece.tokens]
    assert ids == sequence.ids[sequence.n_prompt :]
    assert "".join(piece.text for piece in pieces) == "".join(ALPHABET[i] for i in ids)
    return "".join(ALPHABET[i] for i in ids), sequence.stats


def test_until_the_model_ends():
    text, stats = run(FakeContext(FakeModel("hello")))
    assert text == "hello"
    assert stats.stop_reason == "stop"
    assert (stats.prompt_tokens, stats.answer_tokens, stats.steps) == (5, 5, 5)
    assert stats.prompt_seconds > 0
    assert stats.prompt_rate > 0
    assert stats.answer_rate == stats.steps / stats.answer_seconds


def test_prompt_is_fed_in_chunks_and_tokens_one_by_one():
    context = FakeContext(FakeModel("hi"), n_batch=4)
    run(context, "12345678:")
    assert [len(c) for c in context.calls] == [4, 4, 2, 1, 1]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_max_tokens(n):
    context = FakeContext(FakeModel("hello"))
    text, stats = run(context, max_tokens=n)
    assert (text, stats.stop_reason, stats.answer_tokens) == ("hello"[:n], "length", n)
    assert stats.steps == max(0, n - 1)  # the last token is not fed: nobody asked what follows


def test_a_full_context_ends_the_answer_and_says_so():
    context = FakeContext(FakeModel("x" * 100), n_ctx=10)
    text, stats = run(context)
    assert stats.stop_reason == "context"
    assert text == "x" * 6  # five cells were free, and the token after the last cell is known too
    assert len(context.cells) == 10


def test_a_prompt_as_long_as_the_context_gives_one_token():
    text, stats = run(FakeContext(FakeModel("hello"), n_ctx=5))
    assert (text, stats.stop_reason) == ("h", "context")


def test_a_prompt_that_does_not_fit_names_both_numbers():
    with pytest.raises(ContextFullError, match=r"12 tokens.* holds 10.*-c"):
        run(FakeContext(FakeModel(), n_ctx=10), "0123456789:")


def test_an_empty_prompt():
    with pytest.raises(LocalllmError, match="empty"):
        AnswerSequence([], Sampler(GREEDY), FakeStream(), n_ctx=64)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_named(bad):
    class Broken(FakeModel):
        def logits_after(self, cells):
            out = super().logits_after(cells)
            if len(cells) == 7:
                out[3] = bad
            return out

    with pytest.raises(LocalllmError, match=r"after 7 tokens the logit of token 3 is -?(nan|inf)"):
        run(FakeContext(Broken()))


def test_same_seed_same_text():
    texts = [
        run(FakeContext(FakeModel(), n_ctx=64), sampling=Sampling(2.0, seed=s), eog=frozenset())[0] for s in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_the_repeat_penalty_sees_the_prompt():
    sampling = Sampling(temperature=0, repeat_penalty=3.0, repeat_last_n=-1)
    text, _ = run(FakeContext(FakeModel("h")), "hi:", sampling=sampling, max_tokens=1)
    assert text != "h"


def test_closing_stops_the_work():
    context = FakeContext(FakeModel("hello"))
    sequence = sequence_of(context)
    pieces = drive(Tape(context), sequence)
    assert isinstance(pieces, Generator)
    next(pieces)
    n_calls = len(context.calls)
    pieces.close()
    assert sequence.stats.stop_reason == "cancelled"
    assert len(context.calls) == n_calls


def test_cancel_ends_quietly():
    context = FakeContext(FakeModel("hello"))
    sequence = sequence_of(context)
    pieces = drive(Tape(context), sequence)
    next(pieces)
    context.cancel()
    assert list(pieces) == [Piece()]
    assert sequence.stats.stop_reason == "cancelled"


def test_ctrl_c_propagates_and_the_tape_stays_true():
    context = FakeContext(FakeModel("hello"), n_batch=4)
    context.interrupt_at = 6
    tape = Tape(context)
    with pytest.raises(KeyboardInterrupt):
        run(context, "12345678:", tape=tape)
    assert tape.ids == context.cells == ids_of("123")
    text, stats = run(context, "12345678:", tape=tape)
    assert (text, stats.cached_tokens) == ("hello", 4)


class TestReuse:
    def test_common_head(self):
        context = FakeContext(FakeModel())
        tape = Tape(context)
        tape.feed(ids_of("abcdef"))
        assert tape.reuse(ids_of("abcxyz")) == 4
        assert tape.ids == context.cells == ids_of("abc")

    def test_one_token_is_always_left_to_feed(self):
        context = FakeContext(FakeModel())
        tape = Tape(context)
        tape.feed(ids_of("abc"))
        assert tape.reuse(ids_of("abc")) == 3
        assert context.cells == ids_of("ab")

    def test_a_context_that_goes_back_further_is_fed_again(self):
        context = FakeContext(FakeModel(), can_cut=False)
        tape = Tape(context)
        tape.feed(ids_of("abc"))
        assert tape.reuse(ids_of("abd")) == 0
        assert tape.ids == context.cells == []

    def test_going_on_needs_no_cut(self):
        context = FakeContext(FakeModel(), can_cut=False)
        tape = Tape(context)
        tape.feed(ids_of("abc"))
        assert tape.reuse(ids_of("abcd")) == 4

    def test_a_context_that_holds_something_else_starts_over(self):
        context = FakeContext(FakeModel())
        tape = Tape(context)
        tape.feed(ids_of("abc"))
        context.cells.append(1)
        assert tape.reuse(ids_of("abcd")) == 0
        assert context.cells == []


def test_the_alphabet_of_the_fake_is_whole():
    assert len(set(ALPHABET)) == N_VOCAB == 64

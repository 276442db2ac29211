"""One answer, fed logits by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from localllm.errors import ContextFullError, LocalllmError
from localllm.generate.logprobs import token_logprob
from localllm.generate.params import Sampling
from localllm.generate.piece import Piece, TokenLogprob
from localllm.generate.sampling import Sampler
from localllm.generate.sequence import AnswerSequence
from tests.generate.fake import ALPHABET, EOG, N_VOCAB, FakeStream

GREEDY = Sampling(temperature=0)


def logits_of(letter: str):
    """Logits whose likeliest token is this letter's; the ones after it follow, each one less likely."""
    distance = (np.arange(N_VOCAB) - ALPHABET.index(letter)) % N_VOCAB
    return (10.0 - distance).astype(np.float32)


def sequence(prompt="ask", **options):
    ids = [ALPHABET.index(c) for c in prompt]
    options = {"n_ctx": 64, "eog_ids": {EOG}, **options}
    return AnswerSequence(ids, Sampler(GREEDY), options.pop("decoder", FakeStream()), **options)


def say(made: AnswerSequence, text: str):
    """Feed what makes it say `text`, letter by letter, until it is finished; the text of its pieces."""
    out = ""
    for letter in text:
        if made.finished:
            break
        out += made.feed(logits_of(letter)).text
    return out


class Spelling:
    """Only the letters of a word may come; `forced` follow the first of them at once."""

    def __init__(self, word: str, forced: int = 0, end: bool = True) -> None:
        self.left, self.forced, self.end = list(word), forced, end
        self.accepted = ""

    def mask(self, logits) -> None:
        allowed = [ALPHABET.index(self.left[0])] if self.left else []
        logits[[i for i in range(N_VOCAB) if i not in allowed]] = -np.inf

    def accept(self, token: int) -> Sequence[int]:
        taken = [self.left.pop(0) for _ in range(1 + self.forced)]
        self.forced = 0
        assert ALPHABET[token] == taken[0]
        self.accepted += "".join(taken)
        return [ALPHABET.index(c) for c in taken[1:]]

    @property
    def finished(self) -> bool:
        return self.end and not self.left


def test_a_token_a_time_until_the_end_token():
    made = sequence()
    assert [made.feed(logits_of(c)) for c in "hi\0"] == [
        Piece("h", (ALPHABET.index("h"),)),
        Piece("i", (ALPHABET.index("i"),)),
        Piece(),
    ]
    assert (made.finished, made.stats.stop_reason, made.stats.answer_tokens) == (True, "stop", 2)
    assert made.ids[made.n_prompt :] == [ALPHABET.index(c) for c in "hi"]
    with pytest.raises(ValueError, match="finished"):
        made.feed(logits_of("a"))


def test_the_last_token_of_max_tokens_ends_it_at_once():
    made = sequence(max_tokens=2)
    assert say(made, "abc") == "ab"
    assert made.stats.stop_reason == "length"


def test_no_token_at_all():
    made = sequence(max_tokens=0)
    assert made.feed(logits_of("a")) == Piece()
    assert (made.stats.stop_reason, made.stats.answer_tokens) == ("length", 0)


def test_a_full_context():
    made = sequence("abc", n_ctx=4)
    assert say(made, "xyz") == "xy"  # the last token needs no cell
    assert made.stats.stop_reason == "context"
    with pytest.raises(ContextFullError, match="5 tokens, the context holds 4"):
        sequence("abcde", n_ctx=4)


def test_a_stop_string_is_not_shown():
    made = sequence(stop=[". b"])
    assert say(made, "hello. bye") == "hello"
    assert (made.stats.stop_reason, made.stop_text, made.stats.answer_tokens) == ("stop", ". b", 8)


def test_what_was_held_back_comes_at_the_end():
    made = sequence(stop=[". b"])
    assert say(made, "hello.\0") == "hello."
    assert (made.stats.stop_reason, made.stop_text) == ("stop", "")
    made = sequence(stop=[". b"])
    assert say(made, "hello.") == "hello"
    assert made.end("cancelled") == Piece(".")
    assert made.stats.stop_reason == "cancelled"
    assert made.end("deadline") == Piece()
    assert made.stats.stop_reason == "cancelled"


def test_the_decoders_rest_is_searched_too():
    decoder = FakeStream()
    decoder.tail = "!!x"
    made = sequence(stop=["!x"], decoder=decoder)
    assert say(made, "a\0") == "a!"
    assert made.stop_text == "!x"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_named(bad):
    logits = logits_of("a")
    logits[3] = bad
    with pytest.raises(LocalllmError, match=r"after 3 tokens the logit of token 3 is -?(nan|inf)"):
        sequence().feed(logits)


def test_the_end_token_is_passed_over_where_it_is_not_wanted():
    made = sequence(ignore_eog=True, max_tokens=2)
    assert say(made, "\0\0") == ALPHABET[1] * 2
    assert made.stats.stop_reason == "length"


class TestConstraint:
    def test_it_decides_and_ends(self):
        made = sequence(constraint=Spelling("yes"))
        assert say(made, "nnnn") == "yes"
        assert (made.stats.stop_reason, made.stats.answer_tokens) == ("stop", 3)

    def test_forced_tokens_come_with_the_one_before(self):
        made = sequence(constraint=Spelling("yes", forced=1))
        assert made.feed(logits_of("n")) == Piece("ye", tuple(ALPHABET.index(c) for c in "ye"))
        assert made.feed(logits_of("n")).text == "s"
        assert made.finished

    def test_forced_tokens_end_at_max_tokens_and_at_stop_strings(self):
        made = sequence(constraint=Spelling("yes", forced=2), max_tokens=2)
        assert (made.feed(logits_of("n")).text, made.stats.stop_reason) == ("ye", "length")
        made = sequence(constraint=Spelling("yes!", forced=2), stop=["e"])
        assert (made.feed(logits_of("n")).text, made.stats.stop_reason, made.stop_text) == ("y", "stop", "e")

    def test_forced_tokens_with_logprobs_come_one_by_one(self):
        made = sequence(constraint=Spelling("yes", forced=2), logprobs=1)
        for letter in "yes":
            assert not made.finished
            logits = logits_of("n")
            expected = token_logprob(logits, ALPHABET.index(letter), 1)
            piece = made.feed(logits)
            assert (piece.text, piece.logprobs) == (letter, (expected,))
            assert piece.logprobs[0].top[0][0] == ALPHABET.index("n")
        assert made.stats.stop_reason == "stop"

    @pytest.mark.parametrize(
        ("word", "forced", "options", "text", "reason"),
        [
            ("yes!", 3, {}, "yes!", "stop"),
            ("yes!", 3, {"max_tokens": 4}, "yes!", "stop"),
            ("yes!", 3, {"max_tokens": 3}, "yes", "length"),
            ("yes!", 2, {"stop": ["s!"]}, "ye", "stop"),  # a forced token, and one that is chosen
            ("yes!", 2, {"stop": ["ye"]}, "", "stop"),
            ("yes!", 2, {"stop": ["!?"]}, "yes!", "stop"),
            ("ye\0s", 3, {}, "ye", "stop"),
            ("yes!", 3, {"n_ctx": 5}, "yes", "context"),
        ],
    )
    def test_an_answer_is_the_same_with_logprobs(self, word, forced, options, text, reason):
        answers = []
        for logprobs in (None, 0, 2):
            made = sequence(constraint=Spelling(word, forced=forced), logprobs=logprobs, **options)
            answers.append((say(made, "nnnnnn"), made.stats.stop_reason, made.ids, made.stop_text))
        assert answers[0][:2] == (text, reason)
        assert answers[1:] == answers[:1] * 2

    def test_one_that_is_finished_lets_nothing_come(self):
        made = sequence(constraint=Spelling(""))
        assert made.feed(logits_of("a")) == Piece()
        assert made.stats.stop_reason == "stop"

    def test_one_that_lets_nothing_follow_is_an_error(self):
        made = sequence(constraint=Spelling("a", end=False))
        made.feed(logits_of("a"))
        with pytest.raises(LocalllmError, match="after 4 tokens the constraint lets no token follow"):
            made.feed(logits_of("a"))


def test_logprobs_are_of_the_models_own_logits():
    """Neither the sampler's temperature nor a ban changes them."""
    made = sequence(ignore_eog=True, logprobs=2)
    logits = logits_of("\0")
    p = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    (told,) = made.feed(logits).logprobs
    assert told.token == 1
    assert told.logprob == pytest.approx(np.log(p[1]))
    assert [t for t, _ in told.top] == [0, 1]
    assert [x for _, x in told.top] == pytest.approx(list(np.log(p[:2])))


def test_the_end_token_has_its_logprob_but_is_no_part_of_the_answer():
    made = sequence(logprobs=0)
    assert say(made, "a") == "a"
    assert made.ending is None
    assert made.feed(logits_of("\0")) == Piece()
    assert made.ending == token_logprob(logits_of("\0"), EOG, 0)
    assert (made.stats.stop_reason, made.stats.answer_tokens) == ("stop", 1)
    assert sequence().feed(logits_of("\0")) == Piece()


def test_logprobs_of_what_was_drawn():
    made = sequence(logprobs=2, sampled_logprobs=True, constraint=Spelling("ab", forced=1))
    told = [made.feed(logits_of(letter)).logprobs for letter in "xy"]
    a, b = ALPHABET.index("a"), ALPHABET.index("b")
    assert told == [(TokenLogprob(a, 0.0, ((a, 0.0),)),), (TokenLogprob(b, 0.0, ((b, 0.0),)),)]

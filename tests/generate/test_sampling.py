"""The chain as a whole: what is picked, and what a sampler keeps of an answer. The stages: test_samplers.py."""

from __future__ import annotations

import numpy as np
import pytest

from localllm.errors import LocalllmError, UsageError
from localllm.generate.params import Sampling
from localllm.generate.piece import TokenLogprob
from localllm.generate.sampling import Sampler, sampler_of
from tests.generate.fake import FakeModel, FakeTokenizer

RNG = np.random.default_rng(7)
RANDOM = RNG.normal(0, 4, 500).astype(np.float32)
LARGE = np.array([3e38, -3e38, 1e38, 3e38], np.float32)
ALL = Sampling(top_k=0, top_p=1, min_p=0, temperature=1)
"""No stage does anything."""


def probabilities(logits):
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def test_penalty_window():
    logits = np.array([2.0, 1.9, 1.8], np.float32)

    def pick(last_n):
        sampling = Sampling(temperature=0, repeat_penalty=2.0, repeat_last_n=last_n)
        return Sampler(sampling).pick(logits, [0, 1, 1])

    assert [pick(last_n) for last_n in (0, 1, 2, 3, -1)] == [0, 0, 0, 2, 2]


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_greedy_takes_the_lowest_id_among_equals(temperature):
    logits = np.array([1.0, 5.0, 5.0, 2.0], np.float32)
    assert Sampler(Sampling(temperature=temperature)).pick(logits) == 1


def test_greedy_is_what_the_stages_leave():
    """Typical and XTC may remove the likeliest token."""
    logits = np.log(np.array([0.4, 0.3, 0.3], np.float32))
    assert Sampler(Sampling(temperature=0, xtc_probability=1)).pick(logits) == 2
    logits = np.log(np.array([0.2, *[0.008] * 100], np.float32))
    assert Sampler(Sampling(temperature=0, top_k=0, typical_p=0.3)).pick(logits) == 1
    penalties_last = Sampling(temperature=0, top_k=2, repeat_penalty=4, samplers=("top_k", "penalties", "temperature"))
    assert Sampler(penalties_last).pick(np.array([4.0, 3.9, 3.8], np.float32), [0, 1]) == 0


def test_frequencies_follow_the_probabilities():
    logits = np.array([1.0, 0.0, -1.0, 2.0, -9.0], np.float32)
    temperature, draws = 0.7, 20_000
    sampler = Sampler(Sampling(temperature, top_k=0, top_p=1, min_p=0, seed=1))
    counts = np.bincount([sampler.pick(logits) for _ in range(draws)], minlength=5)
    np.testing.assert_allclose(counts / draws, probabilities(logits / np.float32(temperature)), atol=0.015)


def test_frequencies_in_a_large_vocabulary():
    """There a block is drawn before a place in it."""
    logits, draws = np.full(10_007, -30.0, np.float32), 3000
    places = [0, 511, 512, 5000, 10_006]
    logits[places] = np.log([0.1, 0.2, 0.3, 0.15, 0.25])
    sampler = Sampler(Sampling(1.0, top_k=0, top_p=1, min_p=0, seed=1))
    counts = np.bincount([sampler.pick(logits) for _ in range(draws)], minlength=len(logits))
    np.testing.assert_allclose(counts[places] / draws, [0.1, 0.2, 0.3, 0.15, 0.25], atol=0.03)


def test_same_seed_same_tokens():
    rows = RNG.normal(0, 2, (50, 1000)).astype(np.float32)

    def text(seed):
        sampler = Sampler(Sampling(seed=seed))
        return [sampler.pick(row) for row in rows]

    assert text(5) == text(5)
    assert text(5) != text(6)
    assert text(None) != text(None)
    assert text(-3) == text(-3)


def test_the_seed_of_chance_can_be_used_again():
    first = Sampler(Sampling())
    again = Sampler(Sampling(seed=first.seed))
    assert [first.pick(r) for r in [RANDOM] * 20] == [again.pick(r) for r in [RANDOM] * 20]


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e-3])
def test_small_temperatures_are_greedy(temperature):
    assert Sampler(Sampling(temperature=temperature)).pick(RANDOM) == int(np.argmax(RANDOM))


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1000.0])
@pytest.mark.parametrize("top_k", [0, 2])
def test_suppressed_tokens_are_never_picked(temperature, top_k):
    logits = np.array([5.0, 4.0, -60.0, 3.0, 5.0], np.float32)
    before = logits.copy()
    sampler = Sampler(Sampling(temperature, top_k=top_k, top_p=1, min_p=0, seed=3, repeat_penalty=1.1), (0, 3, 4))
    picked = {sampler.pick(logits, [0, 1]) for _ in range(300)}
    assert picked <= {1, 2}
    assert np.array_equal(logits, before)
    alone = Sampler(Sampling(temperature, top_k=top_k, top_p=1, min_p=0, seed=3), (0, 1, 3, 4))
    assert {alone.pick(logits) for _ in range(50)} == {2}


def test_what_has_no_chance_is_not_drawn_at_the_end_of_rounding(monkeypatch):
    sampler = Sampler(Sampling(1.0, top_k=0, top_p=1, min_p=0, seed=0), (1, 3))
    monkeypatch.setattr("localllm.generate.samplers.chance.Chance.uniform", lambda self: 1.0)
    assert sampler.pick(np.array([3.0, 2.0, 3.0, 4.0], np.float32)) == 2


@pytest.mark.parametrize("options", [{}, {"typical_p": 0.5}, {"mirostat": 1}, {"mirostat": 2}, {"dynatemp_range": 0.5},
                                     {"top_n_sigma": 1}, {"adaptive_target": 0.5}, {"xtc_probability": 1}])  # fmt: skip
def test_extreme_logits_do_not_break_the_draw(options):
    with np.errstate(all="raise", under="ignore"):
        assert Sampler(Sampling(top_k=0, seed=0, **options)).pick(LARGE) in (0, 3)


def test_bias_and_bans():
    logits = np.array([1.0, 2.0, 3.0, 2.5], np.float32)
    assert Sampler(Sampling(0, bans=(2,))).pick(logits) == 3
    assert Sampler(Sampling(0, logit_bias={2: -np.inf, 0: 1.6})).pick(logits) == 0
    assert Sampler(Sampling(0, logit_bias=[(2, -1), (1, 0.4), (1, 0.4)])).pick(logits) == 1
    with pytest.raises(LocalllmError, match="no token may follow"):
        Sampler(Sampling(bans=(0, 1, 2, 3))).pick(logits)
    with pytest.raises(UsageError, match="token 4: the model's go from 0 to 3"):
        Sampler(Sampling(logit_bias={4: 1.0})).pick(logits)
    with pytest.raises(UsageError, match="token 64: the model's go from 0 to 63"):
        sampler_of(FakeModel(), Sampling(bans=(64,)))


def test_processors_come_first_and_one_after_the_other():
    logits, seen = np.array([1.0, 2.0, 3.0], np.float32), []

    def in_place(ids, row):
        seen.append((list(ids), row.tolist()))
        row[2] = -9

    def answers(ids, row):
        seen.append((list(ids), row.tolist()))
        return row * [1.0, 1.0, -1.0]

    sampler = Sampler(Sampling(temperature=0, bans=(2,)), processors=(in_place, answers))
    assert sampler.pick(logits, [7]) == 1
    assert seen == [([7], [1, 2, 3]), ([7], [1, 2, -9])]
    assert logits.tolist() == [1, 2, 3]


def test_what_a_processor_answers_stays_its_own():
    answer = np.array([1.0, 2.0, 3.0], np.float32)
    answer.flags.writeable = False
    sampler = Sampler(Sampling(0.5, bans=(2,), repeat_penalty=2.0), processors=[lambda ids, row: answer])
    assert sampler.pick(np.zeros(3, np.float32), [0, 1]) in (0, 1)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(np.zeros(2), "shape"), (np.full(3, np.nan), "numbers"), (np.array([1, np.inf, 0]), "numbers"),
     (np.full(3, -np.inf), "rules all of them out")],
)  # fmt: skip
def test_processors_that_answer_nonsense(answer, problem):
    sampler = Sampler(Sampling(), processors=[lambda ids, row: answer])
    with pytest.raises(LocalllmError, match=problem):
        sampler.pick(np.zeros(3, np.float32))


def test_what_was_seen_is_kept_while_the_list_grows():
    """A list that grew is read from where it grew; any other one anew."""
    rows = RNG.normal(0, 1, (60, 40)).astype(np.float32)
    sampling = Sampling(
        seed=3, repeat_penalty=1.3, frequency_penalty=0.3, repeat_last_n=10, dry_multiplier=1.0, dry_allowed_length=1,
        dry_sequence_breakers=(),
    )  # fmt: skip
    growing, fresh = Sampler(sampling), Sampler(sampling)
    ids = [1, 2, 3]
    for row in rows:
        token = growing.pick(row, ids)
        assert token == fresh.pick(row, list(ids))
        ids.append(token)
    del ids[4:]
    assert growing.pick(rows[0], ids) == fresh.pick(rows[0], list(ids))
    ids[-1:] = [9, 9, 9]
    assert growing.pick(rows[1], ids) == fresh.pick(rows[1], list(ids))


def test_dry_needs_a_vocabulary_for_its_breakers():
    with pytest.raises(UsageError, match="dry_sequence_breakers"):
        Sampler(Sampling(dry_multiplier=1))
    model, tokenizer = FakeModel(), FakeTokenizer()
    repeating = tokenizer.encode("abcdabc")
    logits = np.zeros(64, np.float32)
    logits[tokenizer.encode("d")] = 1.0
    params = Sampling(temperature=0, dry_multiplier=2)
    assert sampler_of(model, params).pick(logits, repeating) == 0
    broken = tokenizer.encode("abcdab:c")
    assert sampler_of(model, params).pick(logits, broken) == tokenizer.encode("d")[0]


def test_stages_run_in_the_order_that_is_asked_for():
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    names = ("temperature", "min_p")
    flat = Sampler(Sampling(temperature=100, min_p=0.7, samplers=names)).candidates(logits)
    assert len(flat.logits) == 3
    first = Sampler(Sampling(temperature=100, min_p=0.7, samplers=names[::-1])).candidates(logits)
    assert len(first.logits) == 1
    assert len(Sampler(Sampling(min_p=0.9, samplers=())).candidates(logits).logits) == 3


def test_the_draw_is_told_by_the_probabilities_after_the_chain():
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))
    sampler = Sampler(Sampling(temperature=1.0, top_k=2, top_p=1.0, min_p=0.0, seed=1))
    sampler.keeps_draw = True
    token = sampler.pick(logits)
    told = sampler.drawn(3)
    assert told.token == token
    assert [i for i, _ in told.top] == [0, 1]  # the others have no chance
    assert [np.exp(value) for _, value in told.top] == pytest.approx([2 / 3, 1 / 3])
    assert told.logprob == dict(told.top)[token]
    assert sampler.drawn(0).top == ()


def test_the_draw_of_a_greedy_choice_is_certain():
    sampler = Sampler(Sampling(temperature=0.0))
    sampler.keeps_draw = True
    sampler.pick(np.array([0.0, 2.0, 1.0], np.float32))
    assert sampler.drawn(2) == TokenLogprob(1, 0.0, ((1, 0.0),))

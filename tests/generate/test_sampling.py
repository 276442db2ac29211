"""Each stage against a slow, obvious twin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from localllm.errors import UsageError
from localllm.generate.params import Sampling
from localllm.generate.sampling import Candidates, Sampler, best, min_p, penalize, top_p

RNG = np.random.default_rng(7)
ROWS = {
    "random": RNG.normal(0, 4, 500).astype(np.float32),
    "ties": RNG.integers(-3, 3, 500).astype(np.float32),
    "equal": np.zeros(50, np.float32),
    "signed zeros": np.array([0.0, -0.0, 1.0, -0.0, 0.0, -1.0], np.float32),
    "one": np.array([2.5], np.float32),
    "large": np.array([3e38, -3e38, 1e38, 3e38], np.float32),
}


def slow_order(logits):
    return sorted(range(len(logits)), key=lambda i: (-float(logits[i]), i))


def slow_softmax(values):
    top = max(values)
    weights = [math.exp(v - top) for v in values]
    return [w / sum(weights) for w in weights]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("k", [-1, 0, 1, 3, 40, 499, 500, 1000])
def test_best(row, k):
    logits = ROWS[row]
    want = slow_order(logits)[: k if k > 0 else None]
    got = best(logits, k)
    assert got.ids.tolist() == want
    assert got.logits.tolist() == [float(logits[i]) for i in want]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.95, 0.999999, 1.0])
def test_top_p(p):
    candidates = best(ROWS["random"], 0)
    reached, n = 0.0, 0
    for probability in slow_softmax(candidates.logits.tolist()):
        n += 1
        reached += probability
        if p < 1 and reached >= p:
            break
    assert len(top_p(candidates, Sampling(top_p=p)).ids) == n


@pytest.mark.parametrize("p", [0.0, 0.01, 0.05, 0.5, 1.0])
def test_min_p(p):
    candidates = best(ROWS["random"], 0)
    probabilities = slow_softmax(candidates.logits.tolist())
    want = [i for i, q in zip(candidates.ids.tolist(), probabilities, strict=True) if q >= p * max(probabilities)]
    assert min_p(candidates, Sampling(min_p=p)).ids.tolist() == want


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.1, 2.0])
def test_penalize(penalty):
    logits, recent = ROWS["random"], [3, 3, 499, 0, 17]
    want = logits.copy()
    for i in set(recent):
        want[i] = want[i] / np.float32(penalty) if want[i] > 0 else want[i] * np.float32(penalty)
    before = logits.copy()
    np.testing.assert_array_equal(penalize(logits, recent, penalty), want)
    np.testing.assert_array_equal(logits, before)
    assert penalize(logits, [], penalty) is logits


def test_penalty_window():
    logits = np.array([2.0, 1.9, 1.8], np.float32)

    def pick(last_n):
        sampling = Sampling(temperature=0, repeat_penalty=2.0, repeat_last_n=last_n)
        return Sampler(sampling).pick(logits, [0, 1, 1])

    assert pick(0) == 0
    assert pick(1) == 0
    assert pick(2) == 0
    assert pick(3) == 2
    assert pick(-1) == 2


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_greedy_takes_the_lowest_id_among_equals(temperature):
    logits = np.array([1.0, 5.0, 5.0, 2.0], np.float32)
    assert Sampler(Sampling(temperature=temperature)).pick(logits) == 1


def test_frequencies_follow_the_probabilities():
    logits = np.array([1.0, 0.0, -1.0, 2.0, -9.0], np.float32)
    temperature, draws = 0.7, 20_000
    sampler = Sampler(Sampling(temperature, top_k=0, top_p=1, min_p=0, seed=1))
    counts = np.bincount([sampler.pick(logits) for _ in range(draws)], minlength=5)
    want = slow_softmax((logits / temperature).tolist())
    np.testing.assert_allclose(counts / draws, want, atol=0.015)


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
    assert [first.pick(r) for r in [ROWS["random"]] * 20] == [again.pick(r) for r in [ROWS["random"]] * 20]


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e-3])
def test_small_temperatures_are_greedy(temperature):
    assert Sampler(Sampling(temperature=temperature)).pick(ROWS["random"]) == int(np.argmax(ROWS["random"]))


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


def test_what_has_no_chance_is_not_drawn_at_the_end_of_rounding():
    sampler = Sampler(Sampling(1.0, top_k=0, top_p=1, min_p=0, seed=0), (1, 3))
    vars(sampler)["_draw"] = lambda: 1.0
    assert sampler.pick(np.array([1.0, 2.0, 3.0, 4.0], np.float32)) == 0


def test_extreme_logits_do_not_break_the_draw():
    with np.errstate(all="raise", under="ignore"):
        assert Sampler(Sampling(top_k=0, seed=0)).pick(ROWS["large"]) in (0, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [("top_p", 1.5), ("top_p", -0.1), ("min_p", 2), ("repeat_penalty", 0), ("temperature", float("nan")),
     ("repeat_last_n", -2)],
)  # fmt: skip
def test_values_out_of_range(field, value):
    with pytest.raises(UsageError, match=field):
        Sampling(**{field: value})


def test_stages_keep_at_least_one():
    one = Candidates(np.array([9]), np.array([1.0], np.float32))
    for stage in (top_p, min_p):
        assert len(stage(one, Sampling(top_p=0.0, min_p=1.0)).ids) == 1


def test_a_large_vocabulary_is_fast():
    import time

    logits = RNG.normal(0, 4, 151_936).astype(np.float32)
    sampler = Sampler(Sampling(repeat_penalty=1.1, seed=0))
    times = []
    for _ in range(20):
        start = time.perf_counter()
        sampler.pick(logits, range(64))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.01  # 0.2 ms here; a full stable sort takes 12

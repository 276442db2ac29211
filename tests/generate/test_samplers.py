"""The stages against llama.cpp's (recorded by record_samplers.py), and against slow and obvious twins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from localllm.generate.params import Sampling
from localllm.generate.samplers.breakers import Breakers, Tail, breakers_of
from localllm.generate.samplers.candidates import Candidates, best, likeliest, most_typical
from localllm.generate.samplers.dry import Dry
from localllm.generate.samplers.row import weigh
from localllm.generate.sampling import Sampler
from localllm.text.tokenizer import Tokenizer
from tests.generate.sampler_cases import BREAKERS, CASES, PIECES, TEXTS, WALKS, N, load, rows, walk
from tests.generate.sampler_vocabulary import metadata
from tests.text.build import tokenizer_of

NOTHING: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0, "seed": 1}
RECORDED = load()
ROWS = {name: RECORDED[f"row {name}"].astype(np.float32) for name in rows()}
RNG = np.random.default_rng(7)


def sampler(options: dict[str, Any], vocabulary: Tokenizer | None = None, breakers: tuple[str, ...] = ()) -> Sampler:
    return Sampler(Sampling(**{**NOTHING, "dry_sequence_breakers": breakers, **options}), vocabulary=vocabulary)


def left(candidates: Candidates, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens have a probability above 0 (float32 has none below 1e-45), and it, by id."""
    ids = np.arange(n) if candidates.ids is None else candidates.ids
    weight = weigh(candidates.logits).weights.astype(np.float64)
    mask, p = np.zeros(n, np.bool_), np.zeros(n)
    p[ids] = weight / weight.sum()
    mask[ids] = p[ids] > 0
    return mask, p[mask]


def close(got, want):
    """As near as float32 logits in the tens allow."""
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, case in CASES.items() for row in case.rows])
def test_as_llama_cpp(name, row):
    case, logits = CASES[name], ROWS[row]
    mask, p = left(sampler(case.options).candidates(logits, case.history), len(logits))
    want = np.unpackbits(RECORDED[f"{name}|{row}|ids"], count=len(logits)).astype(np.bool_)
    if row in ("tied", "equal"):  # which of equals are left is a question of its sort there
        assert sorted(logits[mask]) == sorted(logits[want])
        mask = want
    differ = np.flatnonzero(mask != want)
    if row == "large":  # there llama.cpp's sum of 20,000 float32 numbers, one after the other, is a little off
        probability = np.exp(logits[differ].astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
        assert probability.sum() < 1e-4
        return
    assert not len(differ), (differ, logits[differ])
    if f"{name}|{row}|p" in RECORDED:
        close(np.sort(p), np.sort(RECORDED[f"{name}|{row}|p"]))
        if row not in ("tied", "equal"):
            close(p, RECORDED[f"{name}|{row}|p"])


def vocabulary():
    return tokenizer_of(metadata(PIECES))


@pytest.mark.parametrize("name", BREAKERS)
@pytest.mark.parametrize("text", TEXTS)
def test_dry_breakers_as_llama_cpp(name, text):
    case, tokenizer = BREAKERS[name], vocabulary()
    history = tokenizer.encode(text)
    assert history == RECORDED[f"tokens {text}"].tolist()
    mask, p = left(sampler(case.options, tokenizer, case.breakers).candidates(ROWS["flat"], history), N)
    assert mask.all()
    close(p, RECORDED[f"breakers {name}|{text}"])


@pytest.mark.parametrize("name", WALKS)
def test_walks_as_llama_cpp(name):
    """What is left at each step, and the state that follows from the token that llama.cpp drew."""
    walking = sampler({**WALKS[name], "samplers": ()})
    for step, row in enumerate(RECORDED["walk"].astype(np.float32).reshape(-1, N)):
        candidates = walking.candidates(row)
        mask, p = left(candidates, N)
        assert np.array_equal(np.packbits(mask), RECORDED[f"{name}|{step}|ids"]), step
        close(p, RECORDED[f"{name}|{step}|p"])
        ids = np.arange(N) if candidates.ids is None else candidates.ids
        token = int(RECORDED[f"{name}|{step}|token"][0])
        walking._end.learn(weigh(candidates.logits), int(np.flatnonzero(ids == token)[0]))


def test_what_was_recorded_is_what_is_asked():
    assert all(np.array_equal(RECORDED[f"row {name}"], row) for name, row in rows().items())
    assert np.array_equal(RECORDED["walk"].reshape(-1, N), walk())


EDGES = {
    "random": RNG.normal(0, 4, 500),
    "ties": RNG.integers(-3, 3, 500),
    "equal": np.zeros(50),
    "signed zeros": np.array([0.0, -0.0, 1.0, -0.0, 0.0, -1.0]),
    "one": np.array([2.5]),
    "huge": np.array([3e38, -3e38, 1e38, 3e38]),
    "no chance": np.array([1.0, -np.inf, 3.0, -np.inf, 3.0]),
    "many": RNG.normal(0, 3, 9001),
    "many flat": RNG.normal(0, 0.5, 9001),
    "many ties": RNG.integers(-6, 6, 9001),
    "many equal": np.full(5000, 7.0),
    "many with no chance": np.where(RNG.random(9001) < 0.7, -np.inf, RNG.normal(0, 1, 9001)),
    "many, one far": np.where(np.arange(9001) == 5, 300.0, RNG.normal(0, 1, 9001)),
}


def in_order(logits):
    return sorted(range(len(logits)), key=lambda i: (-float(logits[i]), i))


@pytest.mark.parametrize("row", EDGES)
@pytest.mark.parametrize("k", [-1, 0, 1, 3, 40, 499, 500, 2500, 20_000])
def test_the_best_and_the_lower_id_of_equals(row, k):
    logits = EDGES[row].astype(np.float32)
    n, order = len(logits), in_order(logits)
    have_a_chance = [i for i in order if logits[i] > -np.inf]
    assert best(logits, k).tolist() == (have_a_chance[:k] if 0 < k < n else order)


@pytest.mark.parametrize("which", [likeliest, most_typical])
@pytest.mark.parametrize("min_keep", [0, 30, 700])
@pytest.mark.parametrize("row", EDGES)
@pytest.mark.parametrize("share", [0.0, 0.25, 0.75, 0.95, 0.999])
def test_the_fewest(row, share, min_keep, which):
    """The first ones in order; they reach the share, and one less does not, but for what float32 sums round."""
    logits = EDGES[row].astype(np.float32)
    with np.errstate(over="ignore"):
        weighed = weigh(logits)
        key = logits if which is likeliest else -np.abs(logits - (weighed.top + np.float32(weighed.mean)))
        got = which(logits, share, min_keep).tolist()
    order = np.lexsort((np.arange(len(key)), -key)).tolist()
    assert sorted(got) == sorted(order[: len(got)])
    last: dict[float, int] = {}
    for i in got:
        assert last.get(key[i], -1) < i
        last[key[i]] = i
    least = min(max(min_keep, 1), len(logits))
    assert len(got) >= least
    p = np.exp(logits.astype(np.float64) - logits.max())[order]
    reached = np.cumsum(p / p.sum())
    assert len(got) == len(logits) or len(got) == least or reached[len(got) - 1] > share - 1e-5
    assert len(got) <= least or reached[len(got) - 2] < share + 1e-5


@pytest.mark.parametrize(
    "options", [{"top_p": 0.0}, {"min_p": 1.0}, {"typical_p": 0.0}, {"top_n_sigma": 1e-6}, {"top_k": 1},
                {"xtc_probability": 1.0, "xtc_threshold": 0.0}, {"mirostat": 2, "mirostat_tau": 0.0}, {"mirostat": 1},
                {"temperature": 0.0}, {"temperature": 1.0, "dynatemp_range": 1.0}]
)  # fmt: skip
@pytest.mark.parametrize("row", EDGES)
def test_something_is_always_left(row, options):
    logits = EDGES[row].astype(np.float32)
    with np.errstate(over="ignore"):
        mask, p = left(sampler(options).candidates(logits), len(logits))
    assert mask.any()
    assert np.isfinite(p).all()
    assert (logits[mask] > -np.inf).all()


def naive_repeats(text, last_n, allowed, breakers, spared):
    """Token -> the longest repetition that it would prolong: every length at every place is tried."""
    text = text[-last_n:] if last_n > 0 else text
    n, limit = len(text), len(text)
    for begin in range(n - 1, -1, -1):
        ends = [begin + len(b) for b in breakers if tuple(text[begin : begin + len(b)]) == b]
        if ends:
            limit = n - max(ends)
            break
    found: dict[int, int] = {}
    if limit < allowed or n <= allowed:
        return found
    for at in range(1, n):
        length = max(k for k in range(min(at, limit) + 1) if text[at - k : at] == text[n - k :])
        if length >= allowed and text[at] not in spared:
            found[text[at]] = max(found.get(text[at], 0), length)
    return found


@pytest.mark.parametrize("last_n", [-1, 5, 17])
@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_dry_keeps_repetitions_from_token_to_token(last_n, allowed):
    breakers = [(3,), (0, 1), (2, 1), (0, 1, 2)]
    zero_or_two, zero = np.array([0, 2], np.int32), np.array([0], np.int32)
    looked_up = Breakers(frozenset({3}), (Tail(zero_or_two, (1,)), Tail(zero, (1, 2))))
    for seed in range(20):
        text = np.random.default_rng(seed).integers(0, 4, 150).tolist()
        params = Sampling(dry_multiplier=1, dry_penalty_last_n=last_n, dry_allowed_length=allowed)
        grown = Dry(params, looked_up)
        for n, token in enumerate(text):
            ids, lengths = grown._repeats()
            assert dict(zip(ids.tolist(), lengths.tolist(), strict=True)) == naive_repeats(
                text[:n], last_n, allowed, breakers, {3}
            )
            grown.push(token)
        fresh = Dry(params, looked_up)
        fresh.restart(text)
        assert [x.tolist() for x in fresh._repeats()] == [x.tolist() for x in grown._repeats()]


def test_what_breaks_a_sequence_is_found_once():
    tokenizer = vocabulary()
    found = breakers_of(tokenizer, ("xyz", "\n"))
    assert found is breakers_of(tokenizer, ("xyz", "\n"))
    ids = [(token,) for token in found.single]
    ids += [(head, *tail.rest) for tail in found.tails for head in tail.heads.tolist()]
    texts = sorted(b" ".join(tokenizer.token_bytes(i) for i in one) for one in ids)
    assert texts == [b"\n", b"bx yz", b"x yz", b"x yz", b"xy z", b"xyzc"]  # x is a piece and a byte


def test_only_some_lists_of_breakers_are_remembered():
    tokenizer = vocabulary()
    first = breakers_of(tokenizer, ("0",))
    for i in range(1, 9):
        breakers_of(tokenizer, (str(i),))
    assert breakers_of(tokenizer, ("0",)) is not first


@pytest.mark.parametrize("last_n", [-1, 1, 9, 64])
def test_penalties_count_what_is_in_the_window(last_n):
    options = {"repeat_penalty": 1.5, "frequency_penalty": 0.25, "presence_penalty": 0.5, "repeat_last_n": last_n}
    logits = RNG.normal(0, 2, 40).astype(np.float32)
    text: list[int] = []
    grown = sampler(options)
    for token in RNG.integers(0, 40, 200).tolist():
        text.append(token)
        got = grown.candidates(logits, text).logits
        window = text[-last_n:] if last_n > 0 else text
        want = logits.copy()
        for i in set(window):
            want[i] = want[i] / np.float32(1.5) if want[i] > 0 else want[i] * np.float32(1.5)
            want[i] -= np.float32(window.count(i)) * np.float32(0.25) + np.float32(0.5)
        np.testing.assert_array_equal(got, want)


def test_xtc_strikes_as_often_as_it_should():
    striking = sampler({"xtc_probability": 0.3, "xtc_threshold": 0.1})
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    struck = sum(len(striking.candidates(logits).logits) == 1 for _ in range(5000))
    assert abs(struck / 5000 - 0.3) < 0.03


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_holds_the_surprise(version):
    rng = np.random.default_rng(3)
    walking = sampler({"mirostat": version, "mirostat_tau": 4.0})
    surprises = []
    for _ in range(600):
        weighed = weigh(walking.candidates(rng.normal(0, 1.5, 2000).astype(np.float32)).logits)
        place = walking._means.chance.draw(weighed.weights)
        walking._end.learn(weighed, place)
        surprises.append(-math.log2(weighed.weights[place] / weighed.total))
    assert abs(np.mean(surprises[100:]) - 4.0) < 0.1

"""The comparison with llama.cpp: our side for real, the peer by a stand-in."""

import threading

import pytest

from localllm.errors import LocalllmError, UsageError
from localllm.tools import against, disturbance, peers
from localllm.tools.disturbance import Disturbance
from tests import tiny_models


@pytest.fixture
def job(tmp_path):
    path = tiny_models.write(tmp_path / "m.gguf", "llama", "Q8_0")
    return peers.Job(str(path), 1, 20, 3, 10)


def test_our_side_measures_both_tests(job):
    with against._Side("localllm", job) as side:
        side.warm_up()
        speeds = side.measure(5)
    assert speeds["pp"] > 0
    assert speeds["tg"] > 0


def silent(done: list[against.Pair]) -> None:
    """No progress."""


def pairs(pp, tg, others=(0.0, 0.0, 0.0)):
    """Runs while other programs used so many of two cores."""
    return [
        against.Pair(a, b, Disturbance(busy, 0.0, 0.0, False, 2)) for a, b, busy in zip(pp, tg, others, strict=True)
    ]


def test_ratios_are_pair_by_pair(job):
    rows = against.comparisons(job, pairs([(10.0, 5.0), (12.0, 3.0), (9.0, 9.0)], [(1.0, 2.0)] * 3))
    assert [row.test for row in rows] == ["pp20 @ d10", "tg3 @ d10"]
    assert rows[0].ratios == [2.0, 4.0, 1.0]
    assert rows[0].fields()["median_ratio"] == 2.0
    assert rows[1].fields()["median_theirs"] == 2.0


def test_pairs_that_others_disturbed_are_told_and_not_counted(job):
    pp = [(10.0, 5.0), (12.0, 3.0), (9.0, 9.0), (8.0, 1.0)]
    rows = against.comparisons(job, pairs(pp, pp, (0.0, 0.2, 0.1, 0.21)))
    fields = rows[0].fields()
    assert fields["median_ratio"] == 2.0
    assert (fields["ratios"], fields["others"]) == ([2.0, 4.0, 1.0, 8.0], [0.0, 0.1, 0.05, 0.105])
    assert fields["quiet"] == [True, True, True, False]
    assert "1 of 4 pairs are not counted" in against.doubts(rows)
    assert list(against.markdown(rows, "m", 2, "llamacpp"))[2] == "| m | 2 | pp20 @ d10 | 10.0 | 5.0 | 2.00 |"


def test_no_ratio_of_too_few_quiet_pairs(job):
    rows = against.comparisons(job, pairs([(10.0, 5.0)] * 3, [(1.0, 2.0)] * 3, (0.0, 1.0, 0.0)))
    assert [rows[0].fields()[f"median_{name}"] for name in ("ours", "theirs", "ratio")] == [None] * 3
    assert against.doubts(rows).startswith("No ratio: during 1 of 3 pairs other programs used more than 10% of the")
    assert list(against.markdown(rows, "m", 2, "llamacpp"))[2] == "| m | 2 | pp20 @ d10 | – | – | – |"
    assert against.comparisons(job, pairs([(3.0, 1.0)], [(1.0, 1.0)], [0.0]), 1)[0].fields()["median_ratio"] == 3.0


def test_what_the_host_takes_away_counts(job):
    pair = against.Pair((1.0, 1.0), (1.0, 1.0), Disturbance(0.1, 0.15, 0.0, False, 2))
    assert (pair.others, pair.is_quiet) == (0.125, False)


def test_disturbed_pairs_are_measured_again(job, monkeypatch):
    """Twice as often as wanted, at most."""
    Sides(monkeypatch, 100)
    busy = [True, False, True, False, False, False]
    monkeypatch.setattr(
        disturbance, "between", lambda before, after: Disturbance(float(busy.pop(0)), 0.0, 0.0, False, 2)
    )
    assert [pair.is_quiet for pair in against.compare(job, "llamacpp", 3, silent)] == [False, True, False, True, True]
    busy[:] = [True] * 10
    assert len(against.compare(job, "llamacpp", 3, silent)) == 6


def test_the_sides_own_work_is_not_of_others(job):
    """Which are children that still run."""
    with against._Side("localllm", job) as side:
        before = disturbance.read()
        side.warm_up()
        assert disturbance.read([side.pid]).own > disturbance.read().own
        assert disturbance.read([side.pid]).own - before.own > 0.1
    assert disturbance.read([side.pid]).own >= before.own


def test_both_sides_get_the_same_tokens(job):
    assert peers._tokens(job, 96, 7) == peers._tokens(job, 96, 7)
    assert peers._tokens(job, 96, 7)[0] == peers._tokens(job, 96, 8)[0]
    assert peers._tokens(job, 96, 7)[1] != peers._tokens(job, 96, 8)[1]


def test_an_unknown_peer_is_a_usage_error(job):
    with pytest.raises(UsageError, match="llamacpp"):
        against.compare(job, "ollama", 1, print)


def test_a_peer_that_is_not_installed_says_how(job, monkeypatch):
    monkeypatch.setattr(peers.Peer, "version", None)
    with pytest.raises(UsageError, match=r"localllm\[peer\]"):
        against.compare(job, "llamacpp", 1, print)


class Sides:
    """Two sides that answer so often, and then not before they are ended."""

    def __init__(self, monkeypatch, answers):
        monkeypatch.setattr(peers.Peer, "version", "1.0")
        monkeypatch.setattr(against, "_Side", lambda name, job: self.made.setdefault(name, Side(name, answers)))
        self.made: dict[str, Side] = {}


class Side:
    def __init__(self, name, answers):
        self.name, self.answers, self.pid = name, answers, 2**22
        self.ended = threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()

    def end(self):
        self.ended.set()

    def warm_up(self):
        pass

    def measure(self, seed):
        if self.answers == 0:
            assert self.ended.wait(60)
            raise LocalllmError(f"bench: the process of {self.name} ended early (status -9)")
        self.answers -= 1
        return {"pp": 10.0, "tg": 1.0}


@pytest.mark.parametrize("answers", [3, 4])
def test_what_takes_too_long_is_cut_short(job, monkeypatch, answers):
    """Both sides are ended; the pairs so far count."""
    sides = Sides(monkeypatch, answers)
    assert len(against.compare(job, "llamacpp", 5, silent, seconds=0.05)) == answers
    assert all(side.ended.is_set() for side in sides.made.values())


def test_too_few_pairs(job, monkeypatch):
    Sides(monkeypatch, 2)
    with pytest.raises(LocalllmError, match="3 pairs of runs took more than"):
        against.compare(job, "llamacpp", 5, silent, seconds=0.05)


def test_a_side_that_fails_is_told_as_such(job, monkeypatch):
    sides = Sides(monkeypatch, 1)

    def fail(done):
        sides.made["llamacpp"].end()

    with pytest.raises(LocalllmError, match="llamacpp ended early"):
        against.compare(job, "llamacpp", 5, fail, seconds=600)


def test_a_process_that_ended(job):
    with against._Side("localllm", job) as side:
        side.end()
        side._process.wait()
        with pytest.raises(LocalllmError, match="ended early"):
            side.measure(1)

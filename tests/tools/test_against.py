"""The comparison with llama.cpp: our side for real, the peer by a stand-in."""

import pytest

from localllm.errors import UsageError
from localllm.tools import against
from tests import tiny_models


@pytest.fixture
def job(tmp_path):
    path = tiny_models.write(tmp_path / "m.gguf", "llama", "Q8_0")
    return against.Job(str(path), 1, 20, 3, 10)


def test_our_side_measures_both_tests(job):
    with against._Side("localllm", job) as side:
        speeds = side.measure(5)
    assert speeds["pp"] > 0
    assert speeds["tg"] > 0


def test_ratios_are_pair_by_pair(job):
    rows = against.comparisons(job, {"pp": [(10.0, 5.0), (12.0, 3.0), (9.0, 9.0)], "tg": [(1.0, 2.0)] * 3})
    assert [row.test for row in rows] == ["pp20 @ d10", "tg3 @ d10"]
    assert rows[0].ratios == [2.0, 4.0, 1.0]
    assert rows[0].fields()["median_ratio"] == 2.0
    assert rows[1].fields()["median_theirs"] == 2.0


def test_both_sides_get_the_same_tokens(job):
    assert against._tokens(job, 96, 7) == against._tokens(job, 96, 7)
    assert against._tokens(job, 96, 7)[0] == against._tokens(job, 96, 8)[0]
    assert against._tokens(job, 96, 7)[1] != against._tokens(job, 96, 8)[1]


def test_an_unknown_peer_is_a_usage_error(job):
    with pytest.raises(UsageError, match="llamacpp"):
        against.compare(job, "ollama", 1, print)


def test_a_peer_that_is_not_installed_says_how(job, monkeypatch):
    monkeypatch.setattr(against, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"localllm\[peer\]"):
        against.compare(job, "llamacpp", 1, print)

"""The race of variants: what wins is kept, within the time there is."""

import time
from itertools import count
from types import SimpleNamespace

import pytest

from localllm.kernels import variants
from localllm.kernels.variants import Choice
from localllm.tools import disturbance, tune
from localllm.tools import variants as races
from localllm.tools.disturbance import Disturbance

READS = ("matvec", "q8_0")


@pytest.fixture(autouse=True)
def others(monkeypatch, tmp_path):
    """An empty file of choices, nothing pinned, little memory; others.busy: cores that other programs use."""
    others = SimpleNamespace(busy=0.0)
    monkeypatch.delenv(variants.PINNED)
    monkeypatch.setattr(variants, "_FILE", f"../{tmp_path.name}-choices")
    monkeypatch.setattr(races, "_MEGABYTES", 1)
    monkeypatch.setattr(races, "_SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(disturbance, "between", lambda *_: Disturbance(others.busy, 0, 0, False))
    variants.choices.cache_clear()
    yield others
    variants.forget()


def second_wins(numbers, measure, chance):
    return tune.Outcome({n: [measure(n), 1.0 + (n == 1)][1:] for n in numbers}, 1)


def test_the_winner_is_kept(monkeypatch):
    monkeypatch.setattr(tune, "race", second_wins)
    said = []
    found = races.race([READS], 1, lambda text, done, most: said.append((done, most)))
    assert found == {READS: Choice(2048, {"8192": 1.0, "2048": 2.0, "32768": 1.0})}
    assert variants.choices() == found
    assert said == [(0, 1), (1, 1)]


def test_a_real_race_measures_every_variant():
    found = races.race([READS], 1)[READS]
    assert list(found.speeds) == ["8192", "2048", "32768"]
    assert all(speed > 0 for speed in found.speeds.values())


def test_while_others_work_the_default_is_kept(monkeypatch, others):
    monkeypatch.setattr(tune, "race", second_wins)
    others.busy = 1.0
    assert races.race([READS], 1)[READS].variant == 8192


def test_a_first_start_measures_for_a_while(monkeypatch):
    """Eight seconds each: two of three fit into twenty; the third keeps the default and is not asked for again."""
    wanted = [("matvec", "q8_0"), ("matvec", "q4_0"), ("matvec", "q4_k")]
    clock = count(0, 4)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(races, "_race", lambda bench, product, fmt: Choice(2048, {"8192": 1.0, "2048": 2.0}))
    found = races.race(wanted, 1, seconds=20.0)
    assert list(found) == wanted[:2]
    assert variants.choices()[wanted[2]] == Choice(8192)
    assert variants.untried(["q8_0", "q4_0", "q4_k"]) == [
        pair for pair in variants.of_formats(["q8_0", "q4_0", "q4_k"]) if pair[0] == "matmul"
    ]

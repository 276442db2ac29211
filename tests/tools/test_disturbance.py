"""What is said of figures that scatter: by counters that are made here."""

import os
from types import SimpleNamespace

import psutil
import pytest

from localllm.tools import disturbance
from localllm.tools.disturbance import Counters, Disturbance
from tests.runtime.test_system import V2, write

QUIET = Disturbance(0.0, 0.0, 0.0, False)
STEADY = [100.0, 101.0, 100.5, 99.5, 100.0]


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def test_between_two_readings():
    before = Counters(wall=10, busy=100, own=50, stolen=3, throttled=1)
    after = Counters(wall=20, busy=130, own=65, stolen=5, throttled=4)
    assert disturbance.between(before, after, True) == Disturbance(1.5, 0.2, 0.3, True, 1)


def test_nothing_is_below_nothing():
    """Counters of the system and of a process are not read at one time."""
    before = Counters(wall=10, busy=100, own=50, stolen=3, throttled=1)
    assert disturbance.between(before, Counters(20, 105, 60, 3, 1)) == QUIET
    assert disturbance.between(before, before) == QUIET


def test_quiet_figures_need_no_word():
    assert disturbance.warnings({"pp512": STEADY, "tg128": STEADY}, QUIET) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Disturbance(1.2, 0, 0, False), ("1.2 cores", "close them")),
        (Disturbance(0, 0.5, 0, False), ("host", "0.5 cores")),
        (Disturbance(0, 0, 0.7, False), ("quota", "0.7 s", "--tune")),
        (Disturbance(0, 0, 0, True), ("battery", "plug it in")),
    ],
)
def test_causes(found, words):
    """Each is said with what to do, whether figures scatter or not: means may be too low, too."""
    (sentence,) = disturbance.warnings({"pp512": STEADY}, found)
    assert all(word in sentence for word in words)
    first, second = disturbance.warnings({"pp512": [100.0, 80.0, 100.0, 85.0], "tg128": STEADY}, found)
    assert second == sentence
    assert "pp512 by 11%" in first
    assert "tg128" not in first


@pytest.mark.parametrize(
    ("found", "busy"),
    [
        (Disturbance(0.2, 0, 0, False, 2), False),
        (Disturbance(0.3, 0, 0, False, 2), True),
        (Disturbance(1.5, 0, 0, False, 64), False),
        (Disturbance(4.0, 0, 0, False, 64), True),
        (Disturbance(0, 0.05, 0, False, 2), False),
        (Disturbance(0, 0.5, 0, False, 2), True),
        (Disturbance(0, 0, 0.5, True, 2), False),
    ],
)
def test_a_busy_machine(found, busy):
    """On a large one more may go on beside a measurement."""
    assert found.is_busy is busy
    assert any("Other programs" in text or "host" in text for text in disturbance.warnings({}, found)) is busy


def test_a_scatter_without_a_cause():
    (sentence,) = disturbance.warnings({"pp512": [100.0, 80.0, 100.0, 85.0]}, QUIET)
    assert "No cause shows" in sentence


def test_slower_and_slower():
    first, second = disturbance.warnings({"tg128": [100.0, 98.0, 90.0, 82.0, 80.0]}, QUIET)
    assert "scatter" in first
    assert "tg128 by 18%" in second
    (sentence, busy) = disturbance.warnings({"tg128": [100.0, 98.0, 90.0, 82.0, 80.0]}, Disturbance(1, 0, 0, False))
    assert "heat" not in sentence + busy, "another cause is known"
    assert disturbance.slowed([80.0, 82.0, 90.0, 98.0, 100.0]) == 0.0
    assert disturbance.slowed([100.0, 50.0, 20.0]) == 0.0, "too few to tell"


def test_one_run_does_not_scatter():
    assert disturbance.scatter([5.0]) == disturbance.scatter([]) == 0.0


def test_seconds_of_throttling(tmp_path):
    """Version 2 of cgroups counts microseconds, version 1 nanoseconds."""
    v2 = {"proc/self/cgroup": "0::/", f"{V2}/cpu.stat": "nr_throttled 3\nthrottled_usec 2500000"}
    assert disturbance.throttled(write(tmp_path / "v2", v2)) == 2.5
    v1 = {"proc/self/cgroup": "4:cpu:/", f"{V2}/cpu/cpu.stat": "nr_throttled 3\nthrottled_time 1500000000"}
    assert disturbance.throttled(write(tmp_path / "v1", v1)) == 1.5
    assert disturbance.throttled(tmp_path / "none") == 0.0


def test_this_machine():
    before = disturbance.read()
    after = disturbance.read()
    assert after.wall >= before.wall
    assert 0 <= before.own <= after.own


@pytest.mark.parametrize(("plugged", "expected"), [(False, True), (True, False), (None, False)])
def test_battery(monkeypatch, plugged, expected):
    monkeypatch.setattr(psutil, "sensors_battery", lambda: SimpleNamespace(power_plugged=plugged), raising=False)
    assert disturbance.on_battery() is expected
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None)
    assert not disturbance.on_battery()
    monkeypatch.delattr(psutil, "sensors_battery")
    assert not disturbance.on_battery()

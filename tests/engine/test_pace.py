from __future__ import annotations

import math

import pytest

from localllm.engine.pace import Pace


@pytest.fixture
def pace():
    """A machine on which a pass takes 40 ms and 2 ms a row."""
    made = Pace()
    for rows in (1, 16, 32, 64, 128, 256, 512):
        made.note(rows, 0.04 + 0.002 * rows)
    return made


def test_nothing_is_known_at_first():
    assert Pace().seconds(1) == math.inf


def test_what_was_measured_is_expected(pace):
    assert pace.seconds(64) == pytest.approx(0.168)
    assert pace.seconds(100) == pytest.approx(100 * 0.296 / 128)


def test_times_change_step_by_step(pace):
    before = pace.seconds(16)
    pace.note(16, 10 * before)
    assert before < pace.seconds(16) < 5 * before
    for _ in range(30):
        pace.note(16, 2 * before)
    assert pace.seconds(16) == pytest.approx(2 * before, rel=1e-2)


def test_one_measurement_that_was_too_long_does_not_last(pace):
    for _ in range(30):
        pace.note(64, 100.0)
    assert pace.seconds(64) == pytest.approx(64 * (0.104 / 32))


@pytest.mark.parametrize(("gap", "total"), [(0.0, 16), (0.08, 16), (0.11, 32), (0.2, 64), (0.3, 128), (9.0, 512)])
def test_the_largest_piece_that_the_bound_allows(pace, gap, total):
    assert pace.piece(3, 512, gap) == total - 3


def test_a_piece_fills_whole_tiles_and_never_ends_at_nothing(pace):
    assert pace.piece(8, 512, 0.0) == 8
    assert pace.piece(9, 512, 0.0) == 32 - 9
    assert pace.piece(10, 12, 0.0) == 2
    assert pace.piece(12, 12, 0.0) == 0


def test_nobody_is_kept_waiting_where_nobody_answers(pace):
    assert pace.piece(0, 512, 0.0) == 512


def test_the_first_piece_is_small():
    assert Pace().piece(1, 512, 0.4) == 15

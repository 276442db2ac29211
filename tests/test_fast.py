"""The fast part of the tests reaches every folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fast import MAX_TESTS, spread

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("start", [0, 7, 2**32 - 1])
@pytest.mark.parametrize("n", [1, 2, MAX_TESTS, MAX_TESTS + 1, 5 * MAX_TESTS, 5 * MAX_TESTS + 1, 655])
def test_spread(n, start):
    chosen = spread(range(n), start)
    assert MAX_TESTS / 2 <= len(chosen) <= MAX_TESTS or len(chosen) == n
    assert chosen[0] < -(-n // MAX_TESTS)
    assert n - 1 - chosen[-1] < -(-n // MAX_TESTS)


def test_functions_over_one_list_take_different_ones():
    assert set(spread(range(600), 1)) != set(spread(range(600), 2))


@pytest.mark.slow
def test_every_folder_has_fast_tests():
    """And nothing that is marked slow is among them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests", "-m"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def collected(marks):
        done = subprocess.run([*command, marks], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 5), done.stdout  # 5: none
        return [line for line in done.stdout.splitlines() if "::" in line]

    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert {(ROOT / line.partition("::")[0]).parent for line in collected("fast")} == folders
    assert collected("fast and slow") == []

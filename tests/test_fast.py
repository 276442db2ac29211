"""The fast part of the tests reaches every folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fast import MOST, spread

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("start", [0, 7, 2**32 - 1])
@pytest.mark.parametrize("n", [1, 2, MOST, MOST + 1, 5 * MOST, 5 * MOST + 1, 655])
def test_spread(n, start):
    chosen = spread(range(n), start)
    assert MOST / 2 <= len(chosen) <= MOST or len(chosen) == n
    assert chosen[0] < -(-n // MOST)
    assert n - 1 - chosen[-1] < -(-n // MOST)


def test_functions_over_one_list_take_different_ones():
    assert set(spread(range(600), 1)) != set(spread(range(600), 2))


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

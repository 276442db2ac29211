"""The fast part of the tests reaches every folder."""

import json
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


_COLLECTED = """
import json, sys
import pytest

class Told:
    def pytest_collection_finish(self, session):
        print(json.dumps([[str(item.path.parent), "slow" in item.keywords] for item in session.items]))

sys.exit(pytest.main(sys.argv[1:], plugins=[Told()]))
"""


@pytest.mark.slow
def test_every_folder_has_fast_tests():
    """And nothing that is marked slow is among them."""
    options = ["tests", "-m", "fast", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _COLLECTED, *options], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    fast = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[")))
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert {Path(folder) for folder, _ in fast} == folders
    assert not any(slow for _, slow in fast)

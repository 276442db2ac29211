"""A short version of `python -m tests.store.kill`."""

import pytest

from tests.store import kill


@pytest.mark.slow
def test_kill() -> None:
    figures = kill.run(cycles=6, seed=7)
    assert figures.kills == 6
    assert figures.models >= 2

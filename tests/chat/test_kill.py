"""A few of the cycles of `python -m tests.chat.kill`."""

from __future__ import annotations

import pytest

from tests.chat import kill


@pytest.mark.slow
def test_chats_that_are_killed_have_kept_what_they_showed(tmp_path):
    totals = kill.run(tmp_path, 4, seed=5, say=False)
    assert totals["cycles"] == 4
    assert totals["letters"] > 0

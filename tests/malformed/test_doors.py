"""Files for other commands, folders, caches, settings and databases: a sample of each by the command line."""

from __future__ import annotations

import pytest

from tests.contained import command
from tests.malformed.commands import COMPILES
from tests.malformed.doors import calls

CALLS = dict(calls())


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_bad_file(name, tmp_path):
    call = CALLS[name](tmp_path)
    limits = {"stdin": call.stdin, "environment": call.environment}
    outcome = command(*call.words, **limits)
    if COMPILES in outcome.stderr:
        command(*call.words, **limits, seconds=300)
        outcome = command(*call.words, **limits)
    outcome.check_clean(call.statuses, call.names)

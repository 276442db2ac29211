"""Options of llama.cpp that have no use here."""

from __future__ import annotations

import pytest

from localllm.cli.foreign import FOREIGN, FOREIGN_VERBS
from localllm.cli.main import VERBS

GREEDY = ("--temp", "0")


def test_each_is_taken_with_one_note(call, fake):
    for row in FOREIGN:
        for flag in row.flags:
            result = call("run", "-p", "hi", *GREEDY, flag, *(["1"] if row.has_value else []))
            if row.refused:
                assert (result.status, result.out) == (2, "")
                assert result.err == f"localllm: {row.flags[0]} is not known here: {row.why}\n"
            else:
                assert (result.status, result.out) == (0, "hello")
                assert result.err == f"{row.flags[0]} has no use: {row.why}\n"


@pytest.mark.parametrize("verb", FOREIGN_VERBS)
def test_the_help_does_not_show_them(call, verb):
    assert verb in VERBS
    out = call(verb, "--help").out
    assert "-ngl" not in out
    assert "--mlock" not in out


def test_a_commands_own_option_stays(call, fake):
    result = call("bench", "--no-warmup", "-p", "4", "-n", "0", "-r", "1")
    assert (result.status, result.err) == (0, "")

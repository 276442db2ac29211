"""Limits of keys where other numbers leave less room than the table, and how the table tells them."""

import pytest

from localllm.errors import FormatError
from localllm.gate.keys import HUGE, POSITIVE, Limits, integer, real
from tests.gate.cases import K

TOLD = {
    "1 to 1024": Limits("", 1, 1024),
    "0 or more, at most 1": Limits("", 0, 1, reals=True),
    "0 or more": Limits("", 0, HUGE, reals=True),
    "above 0": Limits("", POSITIVE, HUGE, reals=True),
    "above 0, at most 1000": Limits("", POSITIVE, 1e3, reals=True),
    "finite": Limits("", -HUGE, HUGE, reals=True),
    "1.001 or more": Limits("", 1.001, HUGE, reals=True),
}


@pytest.mark.parametrize("text", TOLD)
def test_limits_are_told(text):
    assert TOLD[text].told() == text


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [(1, 2, None, "2 to 1024"), (9, None, 8, "1 to 8"), (0, -5, None, "1 to 1024"), (2000, None, 5000, "1 to 1024")],
)
def test_the_narrower_limit_of_an_integer_holds(value, low, high, told):
    with pytest.raises(FormatError, match=f"is {value}, must be {told}$"):
        integer(K, "block_count", value, low, high)


def test_what_lies_within_the_narrower_limit_is_taken():
    assert integer(K, "block_count", 2, 2, 8) == 2
    assert integer(K, "block_count", 8, 2, 8) == 8
    assert real(K, "residual_scale", 0.0, 0) == 0.0
    assert real(K, "residual_scale", POSITIVE, POSITIVE) == POSITIVE


@pytest.mark.parametrize(("low", "told"), [(0, "0 or more"), (POSITIVE, "above 0"), (2.5, "2.5 or more")])
def test_the_narrower_limit_of_a_real_holds(low, told):
    with pytest.raises(FormatError, match=f"is -1.0, must be {told}$"):
        real(K, "residual_scale", -1.0, low)
    with pytest.raises(FormatError, match=r"must be 1\.001 or more"):
        real(K, "rope.freq_base", 1.0, low if low < 1 else 0)

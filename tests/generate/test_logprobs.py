from __future__ import annotations

import math

import numpy as np
import pytest

from localllm.generate.logprobs import log_softmax, token_logprob, token_logprobs

RNG = np.random.default_rng(5)
ROWS = np.stack([
    RNG.normal(0, 3, 5000), RNG.normal(20, 0.01, 5000), np.zeros(5000), RNG.integers(-3, 3, 5000) * 1.0,
    np.where(np.arange(5000) == 7, 90.0, -90.0), RNG.normal(-1e4, 1e3, 5000),
]).astype(np.float32)  # fmt: skip


def slow(row):
    wide = row.astype(np.longdouble)
    return np.asarray(wide - wide.max() - np.log(np.exp(wide - wide.max()).sum()), np.float64)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("n_top", [0, 1, 20, 5000, 6000])
def test_a_token_and_the_likeliest(row, n_top):
    before, want = row.copy(), slow(row)
    got = token_logprob(row, 123, n_top)
    assert got.token == 123
    assert math.isclose(got.logprob, want[123], rel_tol=1e-7, abs_tol=2e-7)
    order = sorted(range(len(row)), key=lambda i: (-float(row[i]), i))[:n_top]
    assert [i for i, _ in got.top] == order
    np.testing.assert_allclose([p for _, p in got.top], want[order], rtol=1e-7, atol=2e-7)
    assert np.array_equal(row, before)


def test_many_rows():
    tokens = list(range(len(ROWS)))
    got = token_logprobs(ROWS, tokens, 3)
    assert got == [token_logprob(row, token, 3) for row, token in zip(ROWS, tokens, strict=True)]
    with pytest.raises(ValueError, match="zip"):
        token_logprobs(ROWS, [1, 2])


def test_whole_rows():
    before = ROWS.copy()
    got = log_softmax(ROWS)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [slow(row) for row in ROWS], rtol=1e-6, atol=1e-6)
    assert np.array_equal(ROWS, before)
    again = ROWS.copy()
    assert log_softmax(again, in_place=True) is again
    assert np.array_equal(again, got)

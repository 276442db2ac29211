"""Rows that are kept: what is no finite number in one of them is found, and nothing else is touched."""

import numpy as np
import pytest

from tests.kernels import harness


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 0.0])
@pytest.mark.parametrize("n", [1, 16, 40])
def test_kept(n, value):
    x = harness.placed(np.random.default_rng(0).standard_normal((5, n)).astype(np.float32))
    x[1, n - 1], x[4, n // 2] = value, value
    out = harness.placed(np.zeros(5, np.float32))
    harness.run("kept.rows", n_rows_at=np.array([4]), n=n, x=x, out=out)
    wrong = [1] if not np.isfinite(value) else []
    assert np.flatnonzero(np.isnan(out)).tolist() == wrong
    assert not out[np.isfinite(out)].any()

"""Streams with gates against float64."""

import numpy as np
import pytest

from tests.kernels import harness


def normal(*shape, seed=0, scale=1.0):
    return harness.placed((scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32))


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


SIZES = pytest.mark.parametrize(("n", "count"), [(1, 2), (24, 4), (77, 3), (1040, 4)])


@SIZES
def test_collapse(n, count):
    x, gate = normal(3, count, n), normal(3, count, n, seed=1, scale=20)
    out, zero = harness.buffer((3, n)), harness.buffer((3, n))
    harness.run("gated_streams.collapse", n_rows_at=np.array([3]), n=n, count=count, x=x, gate=gate, out=out, zero=zero)
    np.testing.assert_allclose(out, (x * sigmoid(gate)).mean(1), rtol=3e-6, atol=1e-6)
    assert not zero.any()


@SIZES
def test_spread(n, count):
    x, y, weights = normal(3, count, n), normal(3, n, seed=1), normal(3, count, seed=2, scale=20)
    exact = x + 2 * sigmoid(weights / np.float32(count))[..., None] * y[:, None]
    harness.run("gated_streams.spread", n_rows_at=np.array([3]), n=n, count=count, y=y, weights=weights, x=x)
    np.testing.assert_allclose(x, exact, rtol=3e-6, atol=1e-6)

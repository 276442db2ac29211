"""What the sampler asks of a row of logits, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from tests.kernels import harness

LENGTHS = [16, 17, 31, 32, 1000, 1024, 1040, 1041, 5003]
KINDS = ["random", "peaked", "equal", "no chance", "extreme"]


def row(kind, n):
    """f32 [n]; the last element counts in each of them."""
    rng = np.random.default_rng(n)
    x = harness.placed(rng.normal(0, 3, n).astype(np.float32))
    if kind == "peaked":
        x[n // 2] = 60.0
    elif kind == "equal":
        x[:] = -7.5
    elif kind == "no chance":
        x[rng.random(n) < 0.7] = -np.inf
        x[-1] = 1.0
    elif kind == "extreme":
        x[:6] = 3e38, -3e38, -np.inf, 1e-45, -0.0, 2.9e38
    return x


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_weigh(kind, n):
    x, weights, sums = row(kind, n), harness.buffer(n), harness.buffer(3, np.float64)
    harness.run("sampling.weigh", n=n, x=x, weights=weights, sums=sums)
    want, total, product = reference.weighed(x)
    assert sums[0] == x.max()
    np.testing.assert_allclose(weights, want, rtol=3e-7, atol=2e-38)
    np.testing.assert_allclose(sums[1:], [total, product], rtol=4e-7, atol=1e-6)
    assert np.all(harness.margin(weights) == 0xA5)
    assert np.all(harness.margin(sums) == 0xA5)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("kind", [*KINDS[:4], "nothing"])
def test_moments(kind, n):
    x, sums = row(kind, n), harness.buffer(3, np.float64)
    if kind == "nothing":
        x[:] = -np.inf
    harness.run("sampling.moments", n=n, x=x, sums=sums)
    np.testing.assert_allclose(sums, reference.moments(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_within(kind, n):
    x, sums, center = row(kind, n), harness.buffer(16, np.float64), harness.placed(np.array([1.5], np.float32))
    weights = harness.placed(np.random.default_rng(1).random(n).astype(np.float32))
    limits = harness.placed(np.array([0, *np.geomspace(0.01, 100, 14), np.inf], np.float32))
    harness.run("sampling.within", n=n, x=x, weights=weights, center=center, limits=limits, sums=sums)
    apart = reference.apart(x, center[0])
    want = [weights[apart < limit].sum(dtype=np.float64) for limit in limits]
    np.testing.assert_allclose(sums, want, rtol=1e-6)
    assert np.all(harness.margin(sums) == 0xA5)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (0.0, 1.0), (1.0, 2.0), (2.0, np.inf), (np.inf, np.inf)])
def test_collect(kind, n, low, high):
    x, center = row(kind, n), harness.placed(np.array([1.5, low, high], np.float32))
    near, between = harness.buffer(n, np.int64), harness.buffer(n, np.int64)
    counts = harness.buffer(2, np.int64)
    harness.run("sampling.collect", n=n, x=x, center=center, near=near, between=between, counts=counts)
    apart = reference.apart(x, center[0])
    np.testing.assert_array_equal(near[: counts[0]], np.flatnonzero(apart < low))
    np.testing.assert_array_equal(between[: counts[1]], np.flatnonzero((apart >= low) & (apart < high)))
    assert np.all(harness.margin(near) == 0xA5)
    assert np.all(harness.margin(between) == 0xA5)

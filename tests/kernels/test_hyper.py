"""Hyper-connections against float64."""

import numpy as np
import pytest

from localllm.kernels.hyper import MIXES, STREAMS
from tests.kernels import harness
from tests.kernels import reference_hyper as reference

SIZES = [1, 15, 16, 100, 512, 1030]
EPS = 1e-3


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    x = scale * np.random.default_rng(seed).standard_normal(shape)
    return harness.placed(x.astype(np.float32))


def rows(n: int) -> np.ndarray:
    return np.array([n])


def inputs(n_rows: int, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mixes, factors, summands."""
    return normal(n_rows, MIXES, scale=size), normal(3, seed=2), normal(MIXES, seed=1)


def weights(n_rows: int, n_iter: int, size: float = 1.0) -> np.ndarray:
    mixes, scale, base = inputs(n_rows, size)
    out = harness.buffer((n_rows, MIXES))
    wide = harness.placed(np.repeat(scale, [STREAMS, STREAMS, STREAMS * STREAMS]))
    harness.run(
        "hyper.weights", n_rows_at=rows(n_rows), mixes=mixes, scale=wide, base=base, eps=harness.bits(EPS),
        n_iter=n_iter, out=out,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("n_iter", [1, 2, 20])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_weights(n_iter, size):
    parts = reference.weights(*inputs(19, size), EPS, n_iter)
    exact = np.concatenate([part.reshape(19, -1) for part in parts], axis=1)
    np.testing.assert_allclose(weights(19, n_iter, size), exact, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_gates(size):
    """Of independent streams."""
    mixes, base, out = normal(19, 2 * STREAMS, scale=size), normal(16, seed=1), harness.buffer((19, MIXES))
    scale = harness.placed(np.repeat(np.array([0.7, -1.3], np.float32), [STREAMS, 16 - STREAMS]))
    harness.run(
        "hyper.gates", n_rows_at=rows(19), mixes=mixes, scale=scale, base=base, eps=harness.bits(EPS),
        magnitude=harness.bits(2.5), out=out,
    )  # fmt: skip
    exact = reference.sigmoid(mixes.astype(np.float64) * scale[: 2 * STREAMS] + base[: 2 * STREAMS])
    exact = exact * np.repeat([1, 2.5], STREAMS) + EPS
    np.testing.assert_allclose(out[:, : 2 * STREAMS], exact, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(out[:, 2 * STREAMS :], np.tile(np.eye(STREAMS).ravel(), (19, 1)))


def test_weights_pass_nan_on():
    mixes, out = normal(2, MIXES), harness.buffer((2, MIXES))
    mixes[1, [0, 5, 8 + 6]] = np.nan
    harness.run(
        "hyper.weights", n_rows_at=rows(2), mixes=mixes, scale=harness.placed(np.ones(MIXES, np.float32)),
        base=normal(MIXES, seed=1), eps=harness.bits(EPS), n_iter=2, out=out,
    )  # fmt: skip
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1, 8:]).all()
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(out[1, :8])), [0, 5])


def test_head():
    mixes, base, scale = normal(5, STREAMS, scale=3), normal(16, seed=1), np.float32(0.7)
    out = harness.buffer((5, STREAMS))
    harness.run(
        "hyper.head", n_rows_at=rows(5), mixes=mixes, scale=harness.placed(np.full(16, scale)), base=base,
        eps=harness.bits(EPS), out=out,
    )  # fmt: skip
    exact = reference.sigmoid(mixes.astype(np.float64) * scale + base[:STREAMS]) + EPS
    np.testing.assert_allclose(out, exact, rtol=2e-6)


@pytest.mark.parametrize("n", SIZES)
def test_reduce(n):
    x, w = normal(3, STREAMS, n), normal(3, MIXES, seed=1)
    zero = harness.buffer((3, n))
    for weights, stride in ((w, 4 * MIXES), (w[1], 0)):
        out = harness.buffer((3, n))
        harness.run(
            "hyper.reduce", n_rows_at=rows(3), n=n, x=x, weights=weights, stride=stride, out=out,
            zero=zero if stride else 0,
        )  # fmt: skip
        exact = reference.reduce(x, np.broadcast_to(weights, w.shape)[:, :STREAMS])
        np.testing.assert_allclose(out, exact, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(zero, 0)


def test_the_mean_is_exact():
    x, out = normal(1, STREAMS, 33), harness.buffer((1, 33))
    quarter = harness.placed(np.full(STREAMS, 0.25, np.float32))
    harness.run("hyper.reduce", n_rows_at=rows(1), n=33, x=x, weights=quarter, stride=0, out=out, zero=0)
    a, b, c, d = x[0]
    np.testing.assert_array_equal(out[0], (((a + b) + c) + d) * np.float32(0.25))


@pytest.mark.parametrize("n", SIZES)
def test_mix(n):
    x, y, w = normal(3, STREAMS, n), normal(3, n, seed=1), normal(3, MIXES, seed=2)
    exact = reference.mix(x, y, w[:, 4:8].astype(np.float64), w[:, 8:].reshape(3, 4, 4).astype(np.float64))
    harness.run("hyper.mix", n_rows_at=rows(3), n=n, y=y, weights=w, x=x)
    np.testing.assert_allclose(x, exact, rtol=0, atol=4e-6)

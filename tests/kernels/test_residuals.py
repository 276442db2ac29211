"""Mixtures of residual streams against float64."""

import numpy as np
import pytest

from tests.kernels import harness


def normal(*shape, seed=0, scale=1.0):
    return harness.placed((scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32))


def twin(streams, w, eps):
    """streams [n, n_rows, n_embd]."""
    x = streams.astype(np.float64)
    scores = (x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w).sum(-1)
    shares = np.exp(scores - scores.max(0))
    return (x * (shares / shares.sum(0))[..., None]).sum(0)


@pytest.mark.parametrize("n", [1, 24, 77, 512])
@pytest.mark.parametrize("n_kept", [0, 1, 5])
@pytest.mark.parametrize("scale", [0.02, 3.0])
def test_mix(n, n_kept, scale):
    x, kept, w = normal(4, n, scale=2), normal(6, 4, n, seed=1), normal(n, seed=2, scale=scale)
    exact = twin(np.concatenate([kept[:n_kept], x[None]]), w, 1e-5)
    out = harness.buffer((4, n))
    fields = {
        "n_rows_at": np.array([4]), "n": n, "x": x, "kept": kept, "kept_stride": kept.strides[0], "n_kept": n_kept,
        "w": w, "eps": harness.bits(1e-5),
    }  # fmt: skip
    harness.run("residuals.mix", out=out, **fields)
    # Scores of up to 3 * sqrt(512) * 3 are off by some roundings of 6e-8 of that, shares by as much.
    np.testing.assert_allclose(out, exact, rtol=2e-5, atol=2e-4)
    harness.run("residuals.mix", out=x, **fields)
    np.testing.assert_array_equal(x, out)


def test_of_nothing_but_zeros():
    zeros, out = harness.placed(np.zeros((2, 40), np.float32)), harness.buffer((2, 40))
    harness.run(
        "residuals.mix", n_rows_at=np.array([2]), n=40, x=zeros, kept=zeros, kept_stride=0, n_kept=1,
        w=normal(40), eps=harness.bits(1e-5), out=out,
    )  # fmt: skip
    assert not out.any()


@pytest.mark.parametrize("n", [5, 700])
def test_keep(n):
    x, out = normal(3, n), harness.buffer((3, n))
    before = x.copy()
    harness.run("residuals.keep", n_rows_at=np.array([3]), n=n, x=x, out=out)
    np.testing.assert_array_equal(out, before)
    assert not x.any()

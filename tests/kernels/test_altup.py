"""AltUp's kernels and the Gaussian top-k against float64."""

import numpy as np
import pytest

from tests.kernels import harness
from tests.kernels import reference_altup as twin

N_ROWS = 5
ROWS = np.array([N_ROWS])
EPS = 1e-6
COUNTS = (2, 4)
SIZES = (3, 16, 40, 600, 1025)
sizes = pytest.mark.parametrize(("N", "n"), [(N, n) for N in COUNTS for n in SIZES])


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return harness.placed((scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32))


def f64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def near(got: np.ndarray, exact: np.ndarray) -> None:
    """Sums over a row of float32: some roundings, relative to the greatest."""
    np.testing.assert_allclose(got, exact, rtol=4e-6, atol=4e-6 * max(1.0, np.abs(exact).max()))


def margin_is_whole(array: np.ndarray) -> None:
    """Nothing was stored past the last row."""
    assert (harness.margin(array) == 0xA5).all()


@sizes
def test_start(N, n):
    x, projected = normal(N_ROWS, n, scale=3), normal(N - 1, N_ROWS, n, seed=1)
    x[1], projected[0, 2] = 0, 0
    streams = harness.buffer((N, N_ROWS, n))
    streams[1:] = projected
    harness.run("altup.start", N, n_rows_at=ROWS, n=n, plane=4 * N_ROWS * n, x=x, streams=streams)
    near(streams, twin.start(f64(x), f64(projected)))
    np.testing.assert_array_equal(streams[0], x)


@pytest.mark.parametrize("plus", [0.0, 1.0])
@sizes
def test_route(N, n, plus):
    x, router = normal(N_ROWS, n, scale=2), normal(N, n, seed=1, scale=n**-0.5)
    x[2] = 0
    for n_out in (16, 64):
        weights, out = normal(N, n_out, seed=2), harness.buffer((N_ROWS, n_out))
        harness.run(
            "altup.route", N, n_rows_at=ROWS, n=n, x=x, router=router, eps=harness.bits(EPS), weights=weights,
            n_out=n_out, plus=harness.bits(plus), out=out,
        )  # fmt: skip
        near(out, twin.route(f64(x), f64(router), EPS, f64(weights), plus))


@sizes
def test_predict(N, n):
    streams, mixture = normal(N, N_ROWS, n), normal(N_ROWS, 32, seed=1)
    for active in range(N):
        out, copy = harness.buffer((N, N_ROWS, n)), harness.buffer((N_ROWS, n))
        harness.run(
            "altup.predict", N, n_rows_at=ROWS, n=n, plane=4 * N_ROWS * n, streams=streams, mixture=mixture,
            row=mixture.strides[0], out=out, active=active, copy=copy,
        )  # fmt: skip
        near(out, twin.predict(f64(streams), f64(mixture[:, : N * N].reshape(N_ROWS, N, N))))
        np.testing.assert_array_equal(copy, out[active])
        margin_is_whole(out)
        margin_is_whole(copy)


@sizes
def test_correct(N, n):
    predictions, x, gains, scale = normal(N, N_ROWS, n), normal(N_ROWS, n, seed=1), normal(N_ROWS, 16), normal(n)
    for active in range(N):
        out, scaled = harness.buffer((N, N_ROWS, n)), harness.buffer((N_ROWS, n))
        harness.run(
            "altup.correct", N, n_rows_at=ROWS, n=n, plane=4 * N_ROWS * n, predictions=predictions, x=x, gains=gains,
            row=gains.strides[0], active=active, out=out, scale=scale, scaled=scaled,
        )  # fmt: skip
        near(out, twin.correct(f64(predictions), f64(x), f64(gains[:, :N]), active))
        np.testing.assert_array_equal(scaled, out[active] * scale)
        margin_is_whole(out)
        margin_is_whole(scaled)


@sizes
def test_spread(N, n):
    x, w, streams = normal(N_ROWS, n), normal(n, seed=1), harness.buffer((N, N_ROWS, n))
    streams[...] = normal(N, N_ROWS, n, seed=2)
    exact, normed = streams.astype(np.float64), twin.normed(x.astype(np.float64), EPS) * w
    exact[1:] += normed
    harness.run(
        "altup.spread", N, n_rows_at=ROWS, n=n, plane=4 * N_ROWS * n, x=x, w=w, eps=harness.bits(EPS), streams=streams
    )
    near(streams, exact)
    margin_is_whole(streams)


@sizes
def test_end(N, n):
    streams, others = normal(N, N_ROWS, n, scale=5), normal(N - 1, N_ROWS, n, seed=1)
    others[0, 3] = 0
    for active in range(N):
        out = harness.buffer((N_ROWS, n))
        harness.run(
            "altup.end", N, n_rows_at=ROWS, n=n, plane=4 * N_ROWS * n, streams=streams, others=others, active=active,
            out=out,
        )  # fmt: skip
        near(out, twin.end(f64(streams), f64(others), active))
        margin_is_whole(out)


def test_nan_and_infinity_stay_in_their_row():
    n, N = 40, 4
    streams, mixture = normal(N, N_ROWS, n), normal(N_ROWS, 16, seed=1)
    streams[1, 2, 7], streams[3, 4, 39] = np.nan, np.inf
    out, copy = harness.buffer((N, N_ROWS, n)), harness.buffer((N_ROWS, n))
    harness.run(
        "altup.predict", N, n_rows_at=ROWS, n=n, plane=4 * N_ROWS * n, streams=streams, mixture=mixture, row=64,
        out=out, active=0, copy=copy,
    )  # fmt: skip
    assert set(zip(*np.nonzero(~np.isfinite(copy)), strict=True)) == {(2, 7), (4, 39)}


@pytest.mark.parametrize("deviations", [0.0, 1.6448533535003662])
@pytest.mark.parametrize("n", [2, 15, 16, 577, 2500])
def test_sparse_gate(n, deviations):
    gate, up = normal(N_ROWS, n, scale=3), normal(N_ROWS, n, seed=1)
    gate += np.float32(0.5)
    exact = twin.sparse(f64(gate), f64(up), deviations)
    if n > 100 and deviations:
        assert 0.03 < (exact != 0).mean() < 0.07
    out = harness.buffer((N_ROWS, n))
    fields = {"n_rows_at": ROWS, "n": n, "up": up, "deviations": harness.bits(deviations)}
    harness.run("sparse.gated", gate=gate, out=out, **fields)
    near(out, exact)
    margin_is_whole(out)
    harness.run("sparse.gated", gate=gate, out=gate, **fields)
    np.testing.assert_array_equal(gate, out)


def test_scaled_sum():
    x, y, out = normal(3, 411), normal(3, 411, seed=1), harness.buffer((3, 411))
    harness.run("mix.scaled_sum", n_rows_at=np.array([3]), n=411, x=x, y=y, factor=harness.bits(0.75), out=out)
    np.testing.assert_array_equal(out, (x + y) * np.float32(0.75))
    margin_is_whole(out)

"""RMSNorm and gated activations against float64."""

from typing import Any

import numpy as np
import pytest

from localllm.kernels.activation import GATED, PLAIN
from tests import reference
from tests.kernels import harness

N_ROWS = 7


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return harness.placed(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def rms(x: np.ndarray, w: np.ndarray, n: int, heads: int, out: np.ndarray, eps: float = 1e-6, **more) -> np.ndarray:
    fields: dict[str, Any] = {
        "n_rows_at": np.array([len(out)]),
        "stride": x.strides[0],
        "out_stride": out.strides[0],
        "eps": harness.bits(eps),
    } | more
    harness.run("norm.rms", x=x, w=w, n=n, heads=heads, out=out, **fields)
    return out


# One rounding a square and an addition in 16 lanes, then three more roundings a result.
RMS_BUDGET = 1e-6


@pytest.mark.parametrize("n", [1, 7, 16, 40, 64, 576, 896, 1537])
def test_rms_norm(n):
    x, w = normal(N_ROWS, n), normal(n, seed=1)
    for eps in (1e-6, 0.5):
        expected = reference.rms_norm(x, w, eps)
        np.testing.assert_allclose(rms(x, w, n, 1, harness.buffer((N_ROWS, n)), eps), expected, rtol=RMS_BUDGET)


@pytest.mark.parametrize("n", [8, 24, 64, 100])
def test_rms_norm_of_heads_in_wide_rows(n):
    """Heads of queries within rows that hold more, in place."""
    x, w = normal(N_ROWS, 3 * n + 5), normal(n, seed=1)
    before = x.copy()
    rms(x, w, n, 3, x)
    expected = reference.rms_norm(before[:, : 3 * n].reshape(N_ROWS, 3, n), w, 1e-6).reshape(N_ROWS, -1)
    np.testing.assert_allclose(x[:, : 3 * n], expected, rtol=RMS_BUDGET)
    np.testing.assert_array_equal(x[:, 3 * n :], before[:, 3 * n :])


@pytest.mark.parametrize("n", [16, 50])
def test_rms_norm_gathers_and_adds(n):
    x, w, add = normal(20, n), normal(n, seed=1), normal(4, n, seed=2)
    rows = np.array([19, 0, 7, 7], np.int32)
    expected = reference.rms_norm(x[rows], w, 1e-6) + add
    np.testing.assert_allclose(
        rms(x, w, n, 1, harness.buffer((4, n)), gather=rows, add=add), expected, rtol=RMS_BUDGET, atol=1e-6
    )
    in_place = harness.placed(add)
    rms(x, w, n, 1, in_place, gather=rows, add=in_place)
    np.testing.assert_allclose(in_place, expected, rtol=RMS_BUDGET, atol=1e-6)


def test_rms_norm_of_zeros_is_zeros():
    x, w = harness.placed(np.zeros((2, 48), np.float32)), normal(48)
    assert (rms(x, w, 48, 1, harness.buffer((2, 48))) == 0).all()


def test_rms_norm_of_infinity_and_nan_is_not_finite():
    x, w = normal(2, 48), normal(48)
    x[0, 3], x[1, 40] = np.inf, np.nan
    out = rms(x, w, 48, 1, harness.buffer((2, 48)))
    assert np.isnan(out[0, 3])
    assert np.isnan(out[1]).all()


FUNCTIONS = {"silu": reference.silu, "gelu": reference.gelu}


@pytest.mark.parametrize("n", [1, 15, 16, 577, 1024, 2500])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_gated(function, n):
    """Error of e**x (2 ulp) and of x**3, where the cancelling 1 + e**x keeps it relative to 1."""
    for n_rows in (1, 3):
        gate, up = normal(n_rows, n), normal(n_rows, n, seed=1)
        gate *= 3
        np.clip(gate, -8, 8, out=gate)
        out = harness.buffer((n_rows, n))
        harness.run("activation.gated", function, n_rows_at=np.array([n_rows]), n=n, gate=gate, up=up, out=out)
        expected = FUNCTIONS[function](gate) * up
        np.testing.assert_allclose(out, expected, rtol=1e-5 if function == "gelu" else 1e-6, atol=1e-7)
        harness.run("activation.gated", function, n_rows_at=np.array([n_rows]), n=n, gate=gate, up=up, out=gate)
        np.testing.assert_array_equal(gate, out)


@pytest.mark.parametrize("n", [1, 20, 256])
def test_gated_rows(n):
    """The second factor is a part of longer rows."""
    gate, wide = normal(N_ROWS, n), normal(N_ROWS, 3 * n + 1, seed=1)
    up = wide[:, n : 2 * n]
    out = harness.buffer((N_ROWS, n))
    harness.run(
        "activation.gated_rows", "gelu", n_rows_at=np.array([N_ROWS]), n=n, gate=gate, up=wide.ctypes.data + 4 * n,
        up_stride=wide.strides[0], out=out,
    )  # fmt: skip
    np.testing.assert_allclose(out, reference.gelu(gate) * up, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gated_far_from_zero(function):
    """To the right it is x, to the left 0, and nothing overflows."""
    gate = harness.placed(
        np.array([0.0, -0.0, 20, 100, 1e4, 1e12, 3e38, -20, -87, -88, -100, -1e4, -1e12, -3e38], np.float32)
    )
    up = harness.placed(np.ones_like(gate))
    out = harness.buffer(gate.shape)
    harness.run("activation.gated", function, n_rows_at=np.array([1]), n=gate.size, gate=gate, up=up, out=out)
    np.testing.assert_array_equal(out[:2], 0)
    np.testing.assert_allclose(out[2:7], gate[2:7], rtol=1e-6)
    with np.errstate(over="ignore"):
        expected = np.where(gate[7:] < -30, 0, FUNCTIONS[function](gate[7:].astype(np.float64)))
    np.testing.assert_allclose(out[7:], expected, atol=1e-12, rtol=1e-5)


NOT_FINITE = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("function", GATED)
def test_gated_hides_nothing(function, value):
    gate, up = normal(40), normal(40, seed=1)
    gate[5], gate[39], up[7] = value, value, value
    np.abs(gate, out=gate, where=np.isfinite(gate))  # a gate that is shut multiplies by 0
    out, numbers = harness.buffer(40), harness.placed(np.array([4.0, 25.0], np.float32))
    harness.run(
        "activation.gated", function, n_rows_at=np.array([1]), n=40, gate=gate, up=up, out=out,
        limit=harness.bits(7.0), numbers=numbers,
    )  # fmt: skip
    np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(out)), [5, 7, 39])


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("function", PLAIN)
def test_plain_hides_nothing(function, value):
    x, out = normal(1, 40), harness.buffer((1, 40))
    x[0, 5], x[0, 39] = value, value
    numbers = harness.placed(np.array([0.8, 0.3, 0.5, -1e-6], np.float32))
    harness.run("activation.plain", function, n_rows_at=np.array([1]), n=40, x=x, out=out, divisor=0, numbers=numbers)
    np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(out)), [5, 39])

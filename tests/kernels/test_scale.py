"""Scales of whole matrices: one multiplication and the additions, in float32 and in this order."""

from typing import Any

import numpy as np
import pytest

from tests.kernels import harness


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return harness.placed(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("n", [1, 15, 64, 1100, 2048])
def test_rows(n):
    x, bias, add, scale = normal(3, n), normal(n, seed=1), normal(3, n, seed=2), normal(1, seed=3)
    rows = np.array([3])
    for fields, expected in (
        ({}, x * scale),
        ({"bias": bias}, x * scale + bias),
        ({"add": add}, x * scale + add),
        ({"bias": bias, "add": add}, x * scale + bias + add),
    ):
        out = harness.buffer((3, n))
        harness.run("scale.rows", n_rows_at=rows, n=n, x=x, scale=scale, out=out, **fields)
        np.testing.assert_array_equal(out, expected)
    residual, logits = harness.placed(add), harness.placed(x)
    harness.run("scale.rows", n_rows_at=rows, n=n, x=x, scale=scale, bias=bias, add=residual, out=residual)
    np.testing.assert_array_equal(residual, x * scale + bias + add)
    step, _alive = harness.step(n_rows=3, logits=logits)
    harness.run("scale.rows", n_rows_at=rows, n=n, x=0, scale=scale, bias=bias, out=0, step=step)
    np.testing.assert_array_equal(logits, x * scale + bias)


@pytest.mark.parametrize("n", [15, 192])
def test_experts(n):
    """A batch in order of experts, with places that nothing lies in; and one row, whose slots lie one after another."""
    scales, bias = normal(5, seed=1), normal(5, n, seed=2)
    ids = np.array([[3, 0], [3, 4], [1, 3]], np.int32)
    sources = np.array([4, -1, 1, -1, 0, 2, 5, -1, 3], np.int32)
    kept = sources >= 0
    expert = ids.ravel()[sources[kept]]
    fields: dict[str, Any]
    for fields in ({}, {"bias": bias, "bias_stride": 4 * n}):
        plus = bias if fields else np.zeros_like(bias)
        x = normal(len(sources), n)
        expected = x.copy()
        expected[kept] = x[kept] * scales[expert][:, None] + plus[expert]
        common = {"n": n, "n_used": 2, "scales": scales} | fields
        places = np.array([len(sources)])
        harness.run("scale.experts", n_places_at=places, x=x, ids=ids, sources=sources, **common)
        np.testing.assert_array_equal(x, expected)
        x = normal(2, n)
        expected = x * scales[ids[1]][:, None] + plus[ids[1]]
        harness.run("scale.experts", n_places_at=np.array([1]), x=x, ids=ids[1].copy(), sources=0, **common)
        np.testing.assert_array_equal(x, expected)

"""Error feedback: less output error than rounding by importance, on inputs whose columns go together."""

from __future__ import annotations

import numpy as np
import pytest

from localllm.errors import FormatError
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.calibration import Calibration
from localllm.quantize.encode import Encoder
from localllm.quantize.feedback import corrected, factorize, output_error
from localllm.quantize.grid import GRIDS
from localllm.quantize.imatrix import Imatrix
from localllm.quantize.methods import gptq
from localllm.quantize.source import SourceTensor


@pytest.fixture(scope="module")
def encoder():
    with Encoder(2) as encoder:
        yield encoder


def correlated(k: int, seed: int = 0) -> np.ndarray:
    """The second moments of inputs that have k / 4 causes and some noise, and columns of very different sizes."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(size=k))
    x = (rng.normal(size=(4 * k, k // 4)) @ rng.normal(size=(k // 4, k)) + rng.normal(size=(4 * k, k))) * sizes
    return np.asarray(x.T @ x / len(x), np.float32)


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_says_what_blocks_decode_to(name, encoder):
    format, grid, rng = FORMATS[name], GRIDS[name], np.random.default_rng(1)
    k = 2 * format.block
    # Bytes below 64 make no scale infinite.
    raw = rng.integers(0, 64, (3, format.row_bytes(k)), dtype=np.uint8)
    levels = rng.choice(grid.sorted, (3, k)).astype(np.float32)
    packed = grid.pack(format, raw, levels)
    a, b = grid.lines(format, raw, encoder.decode)
    np.testing.assert_allclose(encoder.decode(format, packed, k), a + b * levels, rtol=1e-5, atol=1e-6 * abs(a).max())
    assert np.array_equal(grid.pack(format, grid.pack(format, raw, np.full_like(levels, levels[0, 0])), levels), packed)


@pytest.mark.parametrize("name", GRIDS)
def test_nearest_levels(name):
    grid = GRIDS[name]
    x = np.random.default_rng(2).uniform(1.5 * grid.sorted[0] - 1, 1.5 * grid.sorted[-1] + 1, 1000).astype(np.float32)
    distances = abs(x[:, None] - grid.sorted)
    np.testing.assert_array_equal(abs(x - grid.nearest(x)), distances.min(axis=1))


def test_a_factor_is_one_of_the_hessian():
    h = correlated(64)
    factor = factorize(h, 32)
    assert sorted(factor.order) == list(range(64))
    assert {*factor.order[:32]} in ({*range(32)}, {*range(32, 64)})
    diagonal = np.diag(h)[factor.order]
    assert (np.diff(diagonal[:32]) <= 0).all()
    found = factor.upper @ np.diag(factor.diagonal) @ factor.upper.T
    want = 0.75 * h[np.ix_(factor.order, factor.order)] + np.diag(0.25 * diagonal + 0.01 * diagonal.mean())
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-3 * diagonal.mean())
    assert np.array_equal(np.tril(factor.upper, -1), np.zeros((64, 64)))


@pytest.mark.parametrize(("name", "k"), [("Q4_0", 64), ("Q8_0", 64), ("Q5_1", 288), ("Q4_K", 512), ("Q3_K", 512)])
def test_the_output_error_is_less_than_that_of_rounding(name, k, encoder):
    format, h = FORMATS[name], correlated(k)
    x = np.random.default_rng(3).normal(size=(40, k)).astype(np.float32)
    errors = [
        output_error(encoder.decode(format, raw, k) - x, h)
        for raw in (
            corrected(format, x, factorize(h, format.block), encoder),
            encoder.encode(format, x, np.diag(h)),
            encoder.encode(format, x),
        )
    ]
    assert errors[0] < 0.8 * errors[1] < errors[2]


def test_rows_do_not_depend_on_each_other(encoder):
    format, h = FORMATS["Q4_0"], correlated(64)
    x = np.random.default_rng(4).normal(size=(40, 64)).astype(np.float32)
    whole = corrected(format, x, factorize(h, 32), encoder)
    half = encoder.decode(format, corrected(format, x[:20], factorize(h, 32), encoder), 64)
    np.testing.assert_allclose(encoder.decode(format, whole[:20], 64), half, atol=0.5)
    assert (encoder.decode(format, whole[:20], 64) == half).mean() > 0.95


def test_zeros_stay_zeros(encoder):
    format = FORMATS["Q4_0"]
    raw = corrected(format, np.zeros((3, 64), np.float32), factorize(np.zeros((64, 64), np.float32), 32), encoder)
    assert not encoder.decode(format, raw, 64).any()


class Known(Calibration):
    """A calibration of given Hessians."""

    @property
    def has_hessians(self):
        return True

    def __init__(self, hessians, importance=None):
        super().__init__(Imatrix({}))
        self.hessians, self.diagonals = hessians, importance or {}

    def __contains__(self, name):
        return name in self.diagonals

    def hessian_shape(self, name):
        found = self.hessians.get(name)
        return None if found is None else (len(found) if found.ndim > 2 else 1, found.shape[-1])

    def hessian(self, name, held_back=False, matrix=None):
        found = self.hessians.get(name)
        return found if matrix is None or found.ndim == 2 else found[matrix]

    def importance(self, name, k=None):
        return self.diagonals.get(name)


def test_tensors_without_a_hessian_are_rounded_by_importance(encoder):
    x, important = np.random.default_rng(5).normal(size=(8, 64)).astype(np.float32), np.arange(64, dtype=np.float32)
    made = gptq.method(Known({}, {"a.weight": important}), encoder)
    raw = made.encode(SourceTensor("a.weight", (64, 8), "F32"), x, FORMATS["Q4_0"])
    assert np.array_equal(raw, encoder.encode(FORMATS["Q4_0"], x, important))


def test_each_expert_has_its_own_hessian(encoder):
    x = np.random.default_rng(6).normal(size=(8, 64)).astype(np.float32)
    hessians = np.stack([correlated(64, 1), np.zeros((64, 64), np.float32), correlated(64, 2)])
    made, tensor = gptq.method(Known({"e": hessians}), encoder), SourceTensor("e", (64, 8, 3), "F32")
    raws = [made.encode(tensor, x, FORMATS["Q4_0"], i) for i in range(3)]
    assert np.array_equal(raws[1], encoder.encode(FORMATS["Q4_0"], x))
    for i in (0, 2):
        assert np.array_equal(raws[i], corrected(FORMATS["Q4_0"], x, factorize(hessians[i], 32), encoder))
    assert not np.array_equal(raws[0], raws[2])


def test_a_hessian_of_another_model_is_refused(encoder):
    made = gptq.method(Known({"a": correlated(32)}), encoder)
    with pytest.raises(FormatError, match=r"Hessian of tensor a has shape .* belongs to another model"):
        made.encode(SourceTensor("a", (64, 8), "F32"), np.zeros((8, 64), np.float32), FORMATS["Q4_0"])


@pytest.mark.parametrize("damage", ["off the diagonal", "a negative square"])
def test_a_matrix_that_is_no_mean_of_squares_is_refused(damage):
    hessian = np.eye(32, dtype=np.float32)
    if damage == "off the diagonal":
        hessian += 9 * (1 - hessian)
    else:
        hessian[3, 3] = -1
    with pytest.raises(FormatError, match="Hessians is damaged"):
        factorize(hessian, 32)

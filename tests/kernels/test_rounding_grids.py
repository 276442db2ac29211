"""The way back to formats with grids, ternary and binary codes: exact where it can be, and nearest entries."""

import numpy as np
import pytest
from gguf import quants

from tests import reference
from tests.kernels.test_rounding import encode


def importances(k: int) -> np.ndarray:
    return np.exp(np.random.default_rng(k).standard_normal(k)).astype(np.float32)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0", "Q2_0"])
def test_ternary_weights_stay(name, weighted):
    """A binary16 scale a row, however many zeros: blocks without any, and blocks of zeros alone, too."""
    rng = np.random.default_rng(1)
    zeros = rng.choice([0.0, 0.3, 0.99, 1.0], (24, 6, 1)).repeat(256, 2)
    signs = rng.choice([-1, 1], zeros.shape) * (rng.random(zeros.shape) >= zeros)
    scales = np.exp(rng.uniform(-9, 9, (24, 1, 1))).astype(np.float16).astype(np.float32)
    x = (signs * scales).astype(np.float32).reshape(24, -1)
    raw = encode(name, x, importances(x.shape[1]) if weighted else None)
    np.testing.assert_array_equal(reference.dequantize(name, raw), x)


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_weights_stay(weighted):
    rng = np.random.default_rng(2)
    scales = np.exp(rng.uniform(-9, 9, (24, 1))).astype(np.float16).astype(np.float32)
    x = rng.choice([-1, 1], (24, 640)).astype(np.float32) * scales
    raw = encode("Q1_0", x, importances(640) if weighted else None)
    np.testing.assert_array_equal(reference.dequantize("Q1_0", raw), x)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["MXFP4", "IQ4_NL", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"])
def test_what_was_decoded_stays(name, weighted):
    rng = np.random.default_rng(3)
    importance = importances(768) if weighted else None
    x = reference.dequantize(name, encode(name, rng.standard_normal((32, 768)) * 0.05, importance))
    np.testing.assert_array_equal(reference.dequantize(name, encode(name, x, importance)), x)


@pytest.mark.parametrize(
    "name", ["NVFP4", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_S", "IQ1_M"]
)
def test_what_was_decoded_changes_little(name):
    """Scales in two steps may be found a little differently: the error is far below that of the rounding itself."""
    x = reference.dequantize(name, encode(name, np.random.default_rng(4).standard_normal((16, 768)) * 0.05))
    again = reference.dequantize(name, encode(name, x))
    assert np.square(again - x).sum() < 0.003 * np.square(x).sum()


def entries(name: str) -> np.ndarray:
    """The grid of a format: float64 [entries, elements]."""
    format_ = getattr(quants, name)
    format_.init_grid()
    return format_.grid.reshape(-1, format_.grid.shape[-1]).astype(np.float64)


def scales_of(name: str, raw: np.ndarray) -> np.ndarray:
    """Of each group of a matrix's super-blocks, what multiplies an entry: [groups]."""
    blocks = raw.reshape(-1, {"IQ2_S": 82, "IQ3_S": 110}[name])
    packed = blocks[:, 74 if name == "IQ2_S" else 106 :]
    numbers = np.stack([packed & 15, packed >> 4], 2).reshape(len(blocks), -1)
    d = blocks[:, :2].copy().view(np.float16).astype(np.float64)
    return (d * (2 * numbers + 1) * (0.125 if name == "IQ2_S" else 1)).reshape(-1)


@pytest.mark.parametrize("name", ["IQ2_S", "IQ3_S"])
def test_entries_are_the_nearest_of_the_whole_grid(name):
    """For the scales that were chosen, to the few bits of a sum that hold numbers."""
    x = np.random.default_rng(5).standard_normal((4, 512)).astype(np.float32)
    raw, grid = encode(name, x), entries(name)
    scales = scales_of(name, raw)
    magnitudes = np.abs(x.astype(np.float64)).reshape(len(scales), -1, grid.shape[1])
    least = [np.square(m[:, None] - s * grid).sum(2).min(1) for m, s in zip(magnitudes, scales, strict=True)]
    error = np.square(reference.dequantize(name, raw) - x.astype(np.float64)).reshape(magnitudes.shape).sum(2)
    # d was fitted once more after the last search: a step of a hundredth or so.
    assert error.sum() < 1.001 * np.sum(least)


@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ2_XS", "IQ3_XXS"])
def test_the_sign_that_costs_least_is_wrong(name):
    """Of eight elements with an odd number of negative ones, one sign is wrong: that of the least magnitude."""
    x = np.random.default_rng(6).uniform(0.5, 1, (8, 512)).astype(np.float32)
    x[:, 3::8] *= -1
    x[:, 6::8] *= 0.01
    got = reference.dequantize(name, encode(name, x)).reshape(8, -1, 8)
    wrong = got * x.reshape(got.shape) < 0
    assert wrong[..., 6].mean() > 0.99
    assert not np.delete(wrong, 6, 2).any()

"""The encoder: matrices to blocks and back on a team, and what it refuses."""

import numpy as np
import pytest

from localllm.errors import LocalllmError, UnsupportedError
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.encode import Encoder
from tests import reference

NAMES = ("F32", "F16", "BF16", "Q8_0", "Q4_1", "Q4_K", "Q6_K", "IQ4_XS", "NVFP4", "TQ1_0", "IQ3_XXS", "IQ2_S", "IQ1_M")


@pytest.fixture(scope="module")
def encoder():
    with Encoder(1) as one:
        yield one


def matrix(n: int, k: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, k)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_for_any_number_of_threads(name, encoder):
    x, importance = matrix(131, 512), np.random.default_rng(0).random(512).astype(np.float32)
    with Encoder(2) as two:
        for weights in (None, importance):
            raw = encoder.encode(FORMATS[name], x, weights)
            np.testing.assert_array_equal(two.encode(FORMATS[name], x, weights), raw)
            np.testing.assert_array_equal(two.decode(FORMATS[name], raw, 512), encoder.decode(FORMATS[name], raw, 512))


@pytest.mark.parametrize("name", NAMES)
def test_decode_is_the_reference(name, encoder):
    raw = encoder.encode(FORMATS[name], matrix(7, 768))
    assert raw.shape == (7, FORMATS[name].row_bytes(768))
    np.testing.assert_array_equal(encoder.decode(FORMATS[name], raw, 768), reference.dequantize(name, raw))


def test_only_ratios_of_importance_count(encoder):
    """To rounding: a power of two changes nothing at all, nor does an importance too small to be squared."""
    x, importance = matrix(5, 512), np.random.default_rng(1).random(512).astype(np.float32)
    raw = encoder.encode(FORMATS["Q4_K"], x, importance)
    for factor in (2.0**-100, 2.0**100):
        np.testing.assert_array_equal(encoder.encode(FORMATS["Q4_K"], x, importance * np.float32(factor)), raw)


def test_rows_need_not_lie_together(encoder):
    x = matrix(6, 1024)
    np.testing.assert_array_equal(
        encoder.encode(FORMATS["Q8_0"], x[::2, :512]), encoder.encode(FORMATS["Q8_0"], x[::2, :512].copy())
    )


def test_no_rows(encoder):
    assert encoder.encode(FORMATS["Q4_K"], np.zeros((0, 256), np.float32)).shape == (0, 144)
    assert encoder.decode(FORMATS["Q4_K"], np.zeros((0, 144), np.uint8), 256).shape == (0, 256)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(encoder, value, name):
    x = matrix(3, 512)
    x[1, 500] = value
    with pytest.raises(LocalllmError, match="1 of 1536 values are not finite"):
        encoder.encode(FORMATS[name], x)
    with pytest.raises(LocalllmError, match="1536 of 1536 values are not finite"):
        encoder.encode(FORMATS[name], np.full_like(x, value))


@pytest.mark.parametrize("name", ["F16", "Q4_K"])
def test_values_too_great_for_16_bits(encoder, name):
    x = matrix(3, 512)
    x[2, 3] = -65536
    with pytest.raises(LocalllmError, match=f"65536 is too great for {name}"):
        encoder.encode(FORMATS[name], x)
    np.testing.assert_array_equal(encoder.decode(FORMATS["F32"], encoder.encode(FORMATS["F32"], x), 512), x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_bad_importance(encoder, value):
    importance = np.ones(256, np.float32)
    importance[9] = value
    with pytest.raises(LocalllmError, match="must be finite and at least 0"):
        encoder.encode(FORMATS["Q4_K"], matrix(2, 256), importance)


def test_shapes_that_do_not_fit(encoder):
    with pytest.raises(ValueError, match="whole blocks"):
        encoder.encode(FORMATS["Q4_K"], matrix(2, 300))
    with pytest.raises(ValueError, match="importance of a matrix of 256 columns"):
        encoder.encode(FORMATS["Q4_K"], matrix(2, 256), np.ones(255, np.float32))
    with pytest.raises(ValueError, match="have 144 bytes"):
        encoder.decode(FORMATS["Q4_K"], np.zeros((2, 143), np.uint8), 256)


def test_formats_without_kernels(encoder):
    with pytest.raises(UnsupportedError, match="Q8_K"):
        encoder.encode(FORMATS["Q8_K"], matrix(2, 256))

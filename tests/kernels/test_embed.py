"""Embedding rows are the gguf package's dequantization, bit for bit."""

import numpy as np
import pytest

from localllm.kernels.formats.table import FORMATS
from tests import reference
from tests.kernels import blocks, harness

LENGTHS = {
    1: (1, 15, 16, 31, 96, 640), 32: (32, 96, 288, 576, 640, 896), 64: (64, 192, 320, 576, 896), 128: (128, 384, 640),
    256: (256, 512, 1536),
}  # fmt: skip
QUANTIZED = [f.name for f in harness.SUPPORTED if f.name in blocks.SCALES]


def embed(name: str, raw: np.ndarray, tokens: list[int], factor: float = 1.0) -> np.ndarray:
    raw = harness.placed(raw)
    k = reference.row_length(name, raw)
    out = harness.buffer((len(tokens), k))
    step, _alive = harness.step(tokens=tokens)
    harness.run(
        "embed.rows",
        FORMATS[name].module,
        step=step,
        table=raw,
        row_bytes=raw.shape[1],
        k=k,
        out=out,
        factor=harness.bits(factor),
    )
    return out


def assert_same_bits(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal bit for bit, signs of zero included; a NaN is a NaN."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(np.where(nan, 0, got.view(np.uint32)), np.where(nan, 0, expected.view(np.uint32)))


@pytest.mark.parametrize("name", [f.name for f in harness.SUPPORTED])
def test_random_blocks(name):
    rng = np.random.default_rng(1)
    for k in LENGTHS[FORMATS[name].block]:
        raw = blocks.any_rows(name, 40, k, rng)
        tokens = rng.permutation(40)[:17].tolist()
        assert_same_bits(embed(name, raw, tokens), reference.dequantize(name, raw)[tokens])


@pytest.mark.parametrize("half", [0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF], ids=hex)
@pytest.mark.parametrize("name", QUANTIZED)
def test_extreme_blocks(name, half):
    """Zero, subnormal, least normal, greatest scales; codes (and a K-format's own scales) all zeros, ones, mixed."""
    k = 3 * FORMATS[name].block
    for byte in (0x00, 0xFF, 0x80, 0x7F, 0x0F, 0xF0, 0x55):
        raw = blocks.filled_rows(name, byte, half, 2, k)
        assert_same_bits(embed(name, raw, [1]), reference.dequantize(name, raw)[1:])


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_every_16_bit_value(name):
    raw = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(64, -1)
    assert_same_bits(embed(name, raw, list(range(64))), reference.dequantize(name, raw))


@pytest.mark.parametrize("name", [f.name for f in harness.SUPPORTED])
def test_the_factor_multiplies_last(name):
    """Gemma's sqrt(n_embd), say: one rounding after the exact element."""
    raw = blocks.weights(name, 3, FORMATS[name].block * 2, np.random.default_rng(2))
    expected = reference.dequantize(name, raw) * np.float32(33.94)
    assert_same_bits(embed(name, raw, [0, 1, 2], 33.94), expected)


@pytest.mark.parametrize(("factory", "rows"), [("positions", [3, 0, 3]), ("first", [0, 0, 0])])
@pytest.mark.parametrize("name", ["F32", "F16", "Q8_0", "Q4_K"])
def test_rows_that_are_added(name, factory, rows):
    for k in LENGTHS[FORMATS[name].block]:
        raw = harness.placed(blocks.weights(name, 5, k, np.random.default_rng(5)))
        out = harness.placed(np.random.default_rng(6).standard_normal((3, k)).astype(np.float32))
        expected = out + reference.dequantize(name, raw)[rows]
        step, _alive = harness.step(positions=[3, 0, 3])
        harness.run(
            f"embed.{factory}", FORMATS[name].module, step=step, table=raw, row_bytes=raw.shape[1], k=k,
            out=out, factor=harness.bits(1.0),
        )  # fmt: skip
        assert_same_bits(out, expected)


def test_the_same_token_twice_and_nothing_past_the_rows():
    raw = blocks.any_rows("Q4_K", 4, 256, np.random.default_rng(3))
    out = embed("Q4_K", raw, [2, 2, 0])
    assert_same_bits(out, reference.dequantize("Q4_K", raw)[[2, 2, 0]])
    behind = np.lib.stride_tricks.as_strided(out.view(np.uint8).reshape(-1)[-1:], (harness.SLACK,), (1,))[1:]
    assert (behind == 0xA5).all()


def test_every_scale_of_nvfp4_and_mxfp4():
    """Subnormal ones, and the one that stands for 0."""
    for name, per_block in (("NVFP4", 4), ("MXFP4", 1)):
        k = 256 // per_block * FORMATS[name].block
        raw = blocks.any_rows(name, 1, k, np.random.default_rng(4))
        scales = np.arange(256, dtype=np.uint8).reshape(-1, per_block)
        raw.reshape(-1, FORMATS[name].bytes)[:, :per_block] = scales
        assert_same_bits(embed(name, raw, [0]), reference.dequantize(name, raw))

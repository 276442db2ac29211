"""The way back: blocks that floats become. What a search finds is compared with what llama.cpp's finds elsewhere."""

from functools import cache

import gguf
import gguf.quants
import numpy as np
import pytest

from localllm.kernels import objects, rounding
from localllm.kernels.formats.table import FORMATS
from tests import reference
from tests.kernels import harness, rounding_cases, rounding_real

WRITTEN = [f.name for f in harness.WRITTEN]


@cache
def address(name: str) -> int:
    """Of one kernel alone: most tests of a format wait for no other to be compiled."""
    key = objects.Key("rounding", "rows", (FORMATS[name].module,))
    return objects.load([key])[key]


def run_alone(_kernel: str, module: str, **fields) -> None:
    """harness.run of rounding.rows, without the other kernels."""
    name = next(f.name for f in harness.WRITTEN if f.module == module)
    harness.team().call(address(name), harness.block(rounding.Params, **fields))


def encode(name: str, x: np.ndarray, importance: np.ndarray | None = None, run=run_alone) -> np.ndarray:
    x = harness.placed(x.astype(np.float32))
    n, k = x.shape
    weights = None if importance is None else harness.placed(importance.astype(np.float32))
    out = harness.buffer((n, FORMATS[name].row_bytes(k)), np.uint8)
    count = np.array([n])
    greatest = harness.buffer((-(-x.size // rounding.UNIT), 16), np.int32)
    run(
        "rounding.rows", FORMATS[name].module, n_rows_at=count, k=k, x=x,
        importance=0 if weights is None else weights, out=out, greatest=greatest,
    )  # fmt: skip
    assert (harness.margin(out) == 0xA5).all()
    assert (harness.margin(greatest) == 0xA5).all()
    assert greatest.max().view(np.float32) == np.abs(x).max()
    return out


def lengths(name: str) -> tuple[int, ...]:
    block = FORMATS[name].block
    return (1, 15, 33, 640) if block == 1 else (block, 3 * block, 18 * block)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_block_does_not_depend_on_its_neighbours(name, weighted):
    """Rows alone, and rows in a matrix: the same bits, wherever the work is cut."""
    rng = np.random.default_rng(1)
    for k in lengths(name):
        x = rng.standard_normal((9, k)).astype(np.float32)
        importance = rng.random(k).astype(np.float32) if weighted else None
        whole = encode(name, x, importance)
        for row in range(9):
            np.testing.assert_array_equal(encode(name, x[row : row + 1], importance)[0], whole[row])


@pytest.mark.parametrize("name", WRITTEN)
def test_zeros_are_zeros(name):
    k = lengths(name)[-1]
    for importance in (None, np.zeros(k), np.ones(k)):
        raw = encode(name, np.zeros((3, k)), importance)
        assert not reference.dequantize(name, raw).any()


def assert_no_worse(name: str, cases) -> None:
    """Than llama.cpp's blocks, by both weightings: its own, and importance alone."""
    figures = rounding_cases.figures()
    for title, x, importance in cases:
        decoded = reference.dequantize(name, encode(name, x, importance))
        ratios = np.divide(rounding_cases.errors(name, x, decoded, importance), figures[f"{name} {title}"])
        # Figures are recorded with six digits.
        assert (ratios <= 1 + 1e-5).all(), (title, ratios)


@pytest.mark.parametrize("name", rounding_cases.RECORDED)
def test_no_worse_than_llamacpp(name):
    assert_no_worse(name, rounding_cases.cases())


@pytest.mark.skipif(not rounding_real.present(), reason="needs the real models of ~/.cache/localllm-test-models")
@pytest.mark.parametrize("name", rounding_cases.RECORDED)
def test_no_worse_than_llamacpp_on_ten_real_matrices(name):
    assert_no_worse(name, rounding_real.cases())


ON_GRID = {"Q8_0": 127, "Q4_0": 8, "Q4_1": 15, "Q5_0": 16, "Q5_1": 31}


@pytest.mark.parametrize("name", ON_GRID)
@pytest.mark.parametrize("weighted", [False, True])
def test_values_on_the_grid_stay(name, weighted):
    """Whole multiples of a binary16 scale, the greatest code among them: found again, bit for bit."""
    rng = np.random.default_rng(2)
    top, has_minimum = ON_GRID[name], name.endswith("1")
    codes = rng.integers(0 if has_minimum else 1 - top, top, (40, 8, 32))
    codes[..., 3] = top if has_minimum or name == "Q8_0" else -top
    codes[..., 9] = 0
    scale = rng.uniform(0.001, 0.1, (40, 8, 1)).astype(np.float16).astype(np.float32)
    low = rng.uniform(-1, 1, (40, 8, 1)).astype(np.float16).astype(np.float32) if has_minimum else np.float32(0)
    x = (codes * scale + low).astype(np.float32).reshape(40, 256)
    raw = encode(name, x, rng.random(256) + 0.1 if weighted else None)
    np.testing.assert_array_equal(reference.dequantize(name, raw), x)


K_FORMATS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


@pytest.mark.parametrize("name", [*ON_GRID, *K_FORMATS])
@pytest.mark.parametrize("value", [0.37, -0.37, 0.02, -3e4])
def test_constant_matrices(name, value):
    """To the precision of binary16: an eleven-bit scale times a code (a K-format's numbers add a little)."""
    for importance in (None, np.random.default_rng(3).random(512) ** 8):
        got = reference.dequantize(name, encode(name, np.full((3, 512), value), importance))
        assert np.abs(got / value - 1).max() < 4e-3


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("factor", [1e-40, 1e-20, 1e-7, 1e-5, 1e4, 1e30, 3e38])
def test_tiny_and_huge_values_give_finite_elements_no_worse_than_zeros(name, factor):
    """Scales that are subnormal, that round to 0, that are too great for 16 bits."""
    x = np.clip(np.random.default_rng(4).standard_normal((4, 768)), -1, 1).astype(np.float32) * np.float32(factor)
    for importance in (None, np.random.default_rng(5).random(768) ** 8):
        got = reference.dequantize(name, encode(name, x, importance)).astype(np.float64)
        if name == "F16" and factor > 1e29:
            continue  # infinite, which the encoder does not let happen
        assert np.isfinite(got).all()
        assert np.square(got - x).sum() <= np.square(x, dtype=np.float64).sum() * (1 + 1e-6)


def test_16_bit_floats_are_rounded_to_nearest_even():
    x = np.concatenate([np.random.default_rng(6).standard_normal(1000), [0.0, -0.0, 65504.0, 1e-8, 2.0**-24]])
    x = x.astype(np.float32)[None]
    np.testing.assert_array_equal(encode("F16", x).view(np.uint16), x.astype(np.float16).view(np.uint16))
    ties = (np.arange(0x3F80, 0x3FC0, dtype=np.uint32) << 16 | 0x8000).view(np.float32)[None]
    bits = encode("BF16", ties).view(np.uint16)
    assert (bits % 2 == 0).all()
    np.testing.assert_array_equal(encode("BF16", x).view(np.uint16), (gguf_bf16(x)))


def gguf_bf16(x: np.ndarray) -> np.ndarray:
    return gguf.quants.quantize(x, gguf.GGMLQuantizationType.BF16).view(np.uint16)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q4_K", "Q6_K", "Q3_K"])
def test_importance_draws_errors_away(name):
    """Columns that count a hundred times as much are nearer than without an importance vector."""
    x = np.random.default_rng(7).standard_normal((64, 512)).astype(np.float32)
    importance = np.ones(512, np.float32)
    importance[::16] = 100
    with_, without = (
        np.square(reference.dequantize(name, encode(name, x, i)) - x)[:, ::16].sum() for i in (importance, None)
    )
    assert with_ < 0.8 * without

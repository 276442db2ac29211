"""The way back: blocks that floats become. What a search finds is compared with what llama.cpp's finds elsewhere."""

from functools import cache

import numpy as np
import pytest

from localllm.kernels import objects, rounding
from localllm.kernels.formats.table import FORMATS
from tests import reference
from tests.kernels import harness

WRITTEN = [f.name for f in harness.WRITTEN]


@cache
def addresses() -> dict[objects.Key, int]:
    """Of the way back alone: these tests run while other kernels are not compiled."""
    return objects.load(key for key in harness.KEYS if key.module == "rounding")


def encode(name: str, x: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    x = harness.placed(x.astype(np.float32))
    n, k = x.shape
    weights = None if importance is None else harness.placed(importance.astype(np.float32))
    out = harness.buffer((n, FORMATS[name].row_bytes(k)), np.uint8)
    count = np.array([n])
    params = harness.block(
        rounding.Params, n_rows_at=count, k=k, x=x, importance=0 if weights is None else weights, out=out
    )
    harness.team().call(addresses()[objects.Key("rounding", "rows", (FORMATS[name].module,))], params)
    assert (harness.margin(out) == 0xA5).all()
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

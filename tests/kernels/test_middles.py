"""What middles of activations bring to products: sums of weights against gguf's, their products against float64."""

import numpy as np
import pytest

from localllm.kernels.formats.table import FORMATS
from localllm.kernels.quantize import MIDDLE
from tests import reference
from tests.kernels import blocks, harness


def sums(name: str, raw: np.ndarray, k: int) -> np.ndarray:
    out = harness.buffer((-(-len(raw) // 16), k // MIDDLE, 16), np.float16)
    harness.run(
        "middles.sums", FORMATS[name].module, w=harness.placed(raw), row_bytes=raw.shape[1], n=len(raw), k=k, out=out
    )
    return out


def in_rows(tiles: np.ndarray, n: int) -> np.ndarray:
    return tiles.transpose(0, 2, 1).reshape(-1, tiles.shape[1])[:n]


@pytest.mark.parametrize("name", harness.SUMMED)
def test_sums_of_weights(name):
    """Of rows that are cut into pieces, too."""
    for n, k in ((5, 256), (37, 768), (16, 4096 + 512)):
        raw = blocks.weights(name, n, k, np.random.default_rng(k))
        exact = reference.dequantize(name, raw).astype(np.float64).reshape(n, -1, MIDDLE).sum(-1)
        scale = np.abs(exact).max()
        np.testing.assert_allclose(in_rows(sums(name, raw, k), n), exact, rtol=1e-3, atol=1e-5 * scale)


def brought(x, of, n, add=None, known=None, how="first"):
    """known: middles, or they are taken from x."""
    out = harness.buffer((len(x), n))
    if how == "last":
        out[...] = add
    harness.run(
        f"middles.{how}", n_rows_at=np.array([len(x)]), n=n, k=x.shape[1], x=harness.placed(x), sums=of,
        middles=0 if known is None else harness.placed(known), out=out,
        add=0 if add is None or how == "last" else harness.placed(add),
    )  # fmt: skip
    return out


def middles_of(x: np.ndarray) -> np.ndarray:
    groups = x.reshape(len(x), -1, MIDDLE)
    half = np.float32(0.5)
    return groups.max(-1) * half + groups.min(-1) * half


@pytest.mark.parametrize(("n_rows", "n", "k"), [(1, 37, 96), (3, 16, 32), (7, 300, 256), (70, 5, 64), (130, 272, 96)])
def test_products_with_middles(n_rows, n, k):
    rng = np.random.default_rng(n)
    x, add = rng.standard_normal((n_rows, k)).astype(np.float32), rng.standard_normal((n_rows, n)).astype(np.float32)
    of = harness.placed(rng.standard_normal((-(-n // 16), k // MIDDLE, 16)).astype(np.float16))
    exact = middles_of(x).astype(np.float64) @ in_rows(of, n).astype(np.float64).T
    plain = brought(x, of, n)
    np.testing.assert_allclose(plain, exact, rtol=1e-5, atol=1e-5)
    for how in ("first", "last"):
        np.testing.assert_allclose(brought(x, of, n, add, how=how), exact + add, rtol=1e-5, atol=1e-5)
    # However many rows there are, and whoever finds the middles: the same bits.
    assert np.array_equal(plain, brought(x, of, n, known=middles_of(x)))
    for row in (0, n_rows // 2, n_rows - 1):
        assert np.array_equal(brought(x[row : row + 1], of, n)[0], plain[row])


def test_a_product_with_what_is_not_finite():
    x = np.ones((1, 64), np.float32)
    x[0, 40] = np.inf
    of = harness.placed(np.ones((1, 2, 16), np.float16))
    assert not np.isfinite(brought(x, of, 16)).any()

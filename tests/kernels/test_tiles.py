"""Each operation on register tiles and on squares, in a kernel of its own, against NumPy."""

import numpy as np
import pytest

from localllm.kernels.simd.targets import current
from tests.kernels import harness
from tests.kernels.one_operation import assert_vectors, rng, run

I32, F32, I64 = np.int32, np.float32, np.int64
FMA = current().name != "generic"


def test_integer_tiles():
    x = rng().integers(-128, 128, (3, 64)).astype(np.int8)
    w = rng().integers(0, 128, (2, 16), np.uint8)
    starts = rng().integers(-1000, 1000, (3, 16), I32)
    acc = np.tile(-5 * starts, (2, 1, 1))
    pairs = 9 + (w.view(np.int16)[:, None, None, :2].astype(I64) * x.view(np.int16).reshape(3, 16, 2)).sum(-1)
    assert_vectors(run("tiles_of_integers", 448, x, w, starts), acc[1, 1], pairs.astype(I32).reshape(-1))


def test_tiles_of_codes():
    """Any sums are exact, those of the greatest codes with the least activations too."""
    x = rng().integers(-128, 128, (3, 4, 64)).astype(np.int8)
    x[1] = -128
    w = np.stack([rng().integers(0, max_byte + 1, (2, 16), np.uint8) for max_byte in (255, 127, 63, 40, 15)])
    w[:, 1] = [[255], [127], [63], [40], [15]]
    acc = rng().integers(-1000, 1000, (2, 3, 16), I32)
    # max_byte, row, vector, step, lane, byte
    products = w.reshape(5, 2, 1, 4, 1, 4).astype(I32) * x.reshape(1, 1, 3, 4, 16, 4)
    assert_vectors(run("tiles_of_codes", 1920, x, w, acc), (acc + products.sum((3, 5))).astype(I32).reshape(-1))


def test_tiles_of_groups():
    """Any sums are exact, those of the greatest and of the least codes with one sign of activations too."""
    most, taken_off = np.array([86, 124, 127, 15, 127]), np.array([43, 62, 0, 0, 0])
    least = np.array([0, 0, 0, 0, -127])
    x = rng().integers(-127, 128, (3, 4, 64)).astype(np.int8)
    x[1] = -127
    w = np.stack([rng().integers(low, high + 1, (2, 16)) for low, high in zip(least, most, strict=True)])
    for extreme in most, least:
        w[:, 1] = extreme[:, None]
        scales = np.array([-128, 127], np.int16)
        total = rng().integers(-1000, 1000, (2, 3, 16), I32)
        # case, row, vector, step, lane, byte
        codes = (w - taken_off[:, None, None]).reshape(5, 2, 1, 4, 1, 4).astype(I32)
        sums = (codes * x.reshape(1, 1, 3, 4, 16, 4)).sum((3, 5))
        operand = np.concatenate([w.astype(np.uint8).reshape(-1), np.repeat(scales, 8).view(np.uint8)])
        # case, vector, chunk, lane of 16 bits: the sums of the offset times two bytes, which wrap around.
        twos = x.reshape(3, 4, 32, 2).sum(-1, dtype=np.int64)
        chunks = [np.stack([o * twos[:, :cut].sum(1), o * twos[:, cut:].sum(1)], 1) for o, cut in ((43, 3), (62, 2))]
        over = harness.placed(np.stack(chunks).astype(np.int16))
        joined = np.stack([total[0], total[1]], -1).astype(np.int16).view(I32)
        expected = (total + scales[:, None, None] * sums).astype(I32)
        assert_vectors(run("tiles_of_groups", 2112, x, operand, total, over), expected.reshape(-1), joined.reshape(-1))


def test_tiles_of_scales():
    total = rng().integers(-1000, 1000, (2, 3, 16), I32)
    large, small = (
        rng().integers(-(1 << 23), 1 << 23, (2, 3, 16), I32),
        rng().integers(-(1 << 15), 1 << 15, (2, 3, 16), I32),
    )
    small[:, :, :2] = -(1 << 15), (1 << 15) - 1
    for scales in ((-128, 127), (63, -1)):
        operand = np.zeros((2, 8), np.int16)
        operand[:, 4] = scales  # and zeros behind them
        operand[:, :2].view(I32)[:, 0] = scales
        of_rows = np.array(scales, I32)[:, None, None]
        expected = (total + of_rows * large, total + of_rows * small)
        got = run("tiles_of_scales", 768, large, operand.view(np.uint8), total, harness.placed(small))
        assert_vectors(got, *(e.reshape(-1) for e in expected))


def test_float_tiles():
    x, acc = rng().standard_normal((3, 16)).astype(F32), rng().standard_normal((2, 3, 16)).astype(F32)
    w = rng().standard_normal((2, 4)).astype(F32)
    counts = harness.placed(rng().integers(-1000, 1000, (3, 16), I32))

    def fma(a, b, c):
        return (a.astype(np.float64) * b + c).astype(F32) if FMA else a * b + c

    row = w[:, :1, None]
    n = np.broadcast_to(counts, (2, 3, 16)).astype(F32)
    expected = (
        fma(row, x, acc),
        np.broadcast_to(counts + counts * counts.reshape(-1)[[0, 4], None, None], (2, 3, 16)),
        fma(n * row, x, acc),
        fma(n, row * x, acc),
        fma(acc, row * x, acc),
        fma(x[:2, None], x, acc),
        acc + acc,
        np.broadcast_to(2 * counts, (2, 3, 16)),
    )
    assert_vectors(run("tiles_of_floats", 3072, x, w, acc, counts), *(e.reshape(-1) for e in expected))


@pytest.mark.parametrize("run_of_k", [16, 32, 64])
def test_squares(run_of_k):
    """Two operands, of unsigned and of signed bytes, times two tiles of tokens, twice: extremes are exact."""
    w = rng().integers(0, 256, (2, 2, 16, 64), np.uint8)
    x = rng().integers(-128, 128, (2, 2, run_of_k // 4, 16, 4)).astype(np.int8)
    w[0, 0, 3], w[1, 0, 5], x[1, 0, :, 7] = 255, 128, -128
    codes = np.stack([w[0].astype(I32), w[1].view(np.int8).astype(I32)])[..., :run_of_k]
    acts = x.astype(I32).transpose(0, 1, 3, 2, 4).reshape(2, 2, 16, run_of_k)
    # operand, vector, row, token: products of both runs
    expected = np.einsum("ijrk,vjtk->ivrt", codes, acts)
    out = run(f"squares_of_{run_of_k}", 5 * 1024, w, x)
    assert_vectors(out, expected.astype(I32).reshape(-1), (codes[0, 0] @ acts[0, 0].T).reshape(-1))

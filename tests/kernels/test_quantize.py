"""Activations as int8: codes, scales, sums and layouts are exactly those of the NumPy twin."""

import numpy as np
import pytest

from tests import reference
from tests.kernels import harness

LENGTHS = {32: (32, 96, 576, 896), 256: (256, 512, 1536)}


def some_rows(n: int, k: int, seed: int = 0) -> np.ndarray:
    """Rows of different magnitudes: an outlier, a zero row, zeros in part, ties, tiny and huge values."""
    x = np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32)
    x[0, k // 2] = 300.0
    if n > 1:
        x[1] = 0.0
        x[-1, :32] = 0.0
    if n > 3:
        x[2], x[3] = x[2] * np.float32(1e-30), x[3] * np.float32(1e30)
    if n > 5:
        x[4] = np.arange(k) % 255 - 127.0
        x[5] = x[4] / 2 + 0.25
    return x


@pytest.mark.parametrize("group", [32, 256])
def test_rows(group):
    for k in LENGTHS[group]:
        for x in (some_rows(6, k), some_rows(6, k)[2:3]):
            n, padded = len(x), (k + 63) // 64 * 64
            q, d = harness.buffer((n, padded), np.int8), harness.buffer((n, k // group))
            s = harness.buffer((n, k // 32)) if group == 32 else harness.buffer((n, k // 16), np.int16)
            rows = np.array([n])
            harness.run("quantize.rows", group, n_rows_at=rows, k=k, x=harness.placed(x), stride=4 * k, q=q, d=d, s=s)
            codes, scales = reference.quantize(x, group)
            np.testing.assert_array_equal(q[:, :k], codes)
            np.testing.assert_array_equal(d, scales)
            if group == 32:
                np.testing.assert_array_equal(s, scales * reference.sums(codes, 32).astype(np.float32))
            else:
                np.testing.assert_array_equal(s, reference.sums(codes, 16))


def differences(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of 32 neighbours each from their middle, and these."""
    groups, half = x.reshape(len(x), -1, 32), np.float32(0.5)
    middles = groups.max(-1) * half + groups.min(-1) * half
    return (groups - middles[..., None]).reshape(x.shape), middles


@pytest.mark.parametrize("group", [32, 256])
def test_centred_rows_and_tiles(group):
    """As those of the differences, and the middles beside them."""
    for k in LENGTHS[group]:
        x = some_rows(6, k)
        y, expected = differences(x)
        q, d = harness.buffer((6, (k + 63) // 64 * 64), np.int8), harness.buffer((6, k // group))
        s = harness.buffer((6, k // 32)) if group == 32 else harness.buffer((6, k // 16), np.int16)
        middles = harness.buffer((6, k // 32))
        harness.run(
            "quantize.rows", group, "centred", n_rows_at=np.array([6]), k=k, x=harness.placed(x), stride=4 * k, q=q,
            d=d, s=s, middles=middles,
        )  # fmt: skip
        codes, scales = reference.quantize(y, group)
        np.testing.assert_array_equal(q[:, :k], codes)
        np.testing.assert_array_equal(d, scales)
        np.testing.assert_array_equal(middles, expected)
        x = some_rows(37, k)
        y, expected = differences(x)
        middles = harness.buffer((37, k // 32))
        got, plain = tiles(x, group, 4 * k, "centred", middles=middles), tiles(y, group, 4 * k)
        np.testing.assert_array_equal(middles, expected)
        for field, array in plain.items():
            np.testing.assert_array_equal(got[field], array, err_msg=field)


def tiles(x: np.ndarray, group: int, stride: int, *how: str, **more) -> dict[str, np.ndarray]:
    n, k = x.shape
    n_tiles = (n + 15) // 16
    rows = harness.buffer((n, stride // 4), fill=0xFF)
    rows[:, :k] = x
    sums_of = 32 if group == 32 else 16
    out = {
        "q": harness.buffer((n_tiles, k // 4, 16, 4), np.int8),
        "d": harness.buffer((n_tiles, k // group, 16, 1)),
        "s": harness.buffer((n_tiles, k // sums_of, 16, 1), np.int32),
        "p": harness.buffer((n_tiles, k // 32, 16, 1))
        if group == 32
        else harness.buffer((n_tiles, k // 256, 5, 16), np.int32),
    }
    harness.run("quantize.tiles", group, *how, n_rows_at=np.array([n]), k=k, x=rows, stride=stride, **out, **more)
    return out


@pytest.mark.parametrize("n", [1, 3, 16, 17, 48, 65])
@pytest.mark.parametrize("group", [32, 256])
def test_tiles(group, n):
    for k in LENGTHS[group]:
        x = some_rows(n, k, n)
        got = tiles(x, group, stride=4 * k + 64)
        codes, d = reference.quantize(x, group)
        np.testing.assert_array_equal(got["q"], reference.to_tiles(codes, 4))
        np.testing.assert_array_equal(got["d"], reference.to_tiles(d, 1))
        np.testing.assert_array_equal(got["s"], reference.to_tiles(reference.sums(codes, 32 if group == 32 else 16), 1))
        sums = reference.sums(codes, 32)
        if group == 32:
            np.testing.assert_array_equal(got["p"], reference.to_tiles(d * sums.astype(np.float32), 1))
        else:
            np.testing.assert_array_equal(got["p"], reference.pairs(codes))


@pytest.mark.parametrize("group", [32, 256])
@pytest.mark.parametrize("greatest", [1e-45, 1e-40, 3e-37, 1.4e-36, 2e-36, 3e38])
def test_magnitudes_at_the_ends_of_f32(group, greatest):
    """Where the scale has no inverse in f32 the codes are zeros, and the sums agree with the codes."""
    x = (np.random.default_rng(4).uniform(-1, 1, (2, group)) * greatest).astype(np.float32)
    x[0, 3] = greatest
    got = tiles(x, group, 4 * group)
    codes, _ = reference.quantize(x, group)
    np.testing.assert_array_equal(got["q"], reference.to_tiles(codes, 4))
    np.testing.assert_array_equal(got["s"], reference.to_tiles(reference.sums(codes, 32 if group == 32 else 16), 1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("group", [32, 256])
def test_what_is_not_finite_shows_in_the_scale(group, value):
    """Of its group alone; the products of the row are no finite numbers then, whatever the codes are."""
    for at in (0, 15, 16, group - 1):
        x = some_rows(6, 2 * group)
        x[2, group + at] = value
        q, d = harness.buffer((6, (2 * group + 63) // 64 * 64), np.int8), harness.buffer((6, 2))
        s = harness.buffer((6, 2 * group // 16), np.float32)
        harness.run(
            "quantize.rows", group, n_rows_at=np.array([6]), k=2 * group, x=harness.placed(x), stride=8 * group, q=q,
            d=d, s=s,
        )  # fmt: skip
        assert np.argwhere(~np.isfinite(d)).tolist() == [[2, 1]]
        got = tiles(x, group, 8 * group)
        assert np.argwhere(~np.isfinite(got["d"][0, :, :6, 0])).tolist() == [[1, 2]]
        if group == 256:
            # No product takes codes that mean nothing for small ones.
            assert got["p"][0, 1, 4, 2] > 16 * 127

"""Rotary embedding: angles against float64, rotation and the cache's layout exactly."""

import numpy as np
import pytest

from localllm.kernels.cells import cell_bytes
from tests import reference
from tests.kernels import harness, stored

POSITIONS = [0, 1, 2, 17, 1000, 4095, 32768, 100_003, 131_071, 131_072]


def frequencies(n: int, base: float = 10_000.0) -> np.ndarray:
    return base ** -(np.arange(n) / n)


def table(positions: list[int], f: np.ndarray, scale: float = 1.0) -> np.ndarray:
    out = harness.buffer((len(positions), len(f), 2))
    step, _alive = harness.step(positions=positions)
    harness.run("rope.table", step=step, frequencies=f, n=len(f), scale=harness.bits(scale), out=out)
    return out


@pytest.mark.parametrize("base", [10_000.0, 500_000.0, 1_000_000.0])
@pytest.mark.parametrize("scale", [1.0, 1.1386])
def test_table(base, scale):
    """Right to the last bit of f32, save where the exact value lies within 1e-15 of the middle between two."""
    f = frequencies(32, base)
    got = table(POSITIONS, f, scale)
    angles = reference.rope_angles(POSITIONS, f)
    exact = np.stack([np.cos(angles), np.sin(angles)], -1) * scale
    # Half a unit in the last place of f32, and what is left of the reduction at 83,000 quarters: 1e-15.
    np.testing.assert_array_less(np.abs(got - exact), 0.5 * np.spacing(np.abs(exact).astype(np.float32)) + 1e-15)


def test_table_in_every_octant():
    angles = np.linspace(-7, 7, 5001)
    got = table([1], angles)[0]
    np.testing.assert_allclose(got, np.stack([np.cos(angles), np.sin(angles)], -1), rtol=0, atol=2.0**-25)


def rotated(x: np.ndarray, t: np.ndarray, n_rot: int, pairing: str) -> np.ndarray:
    """x [n_rows, n_head, head_dim] by the twin; the table gives cosines and sines."""
    out = x.copy()
    out[..., :n_rot] = reference.rotate(x[..., :n_rot], t[..., 0], t[..., 1], pairing)
    return out


@pytest.mark.parametrize(("head_dim", "n_rot"), [(64, 64), (64, 32), (80, 80), (40, 20), (8, 6), (24, 0)])
@pytest.mark.parametrize("pairing", harness.PAIRINGS)
def test_rotate(pairing, head_dim, n_rot):
    """Also a part of a head, and rows that hold more than heads; 13 x 3 heads are no multiple of what a claim takes."""
    n_head, rows = 3, 13
    positions = np.arange(rows) * 37
    t = table(positions.tolist(), frequencies(max(n_rot // 2, 1)))[:, : n_rot // 2]
    t = harness.placed(np.ascontiguousarray(t))
    x = harness.placed(np.random.default_rng(0).standard_normal((rows, n_head * head_dim + 7)).astype(np.float32))
    before = x.copy()
    step, _alive = harness.step(positions=positions)
    fields = {
        "step": step,
        "x": x,
        "stride": x.strides[0],
        "n_head": n_head,
        "head_dim": head_dim,
        "n_rot": n_rot,
        "table": t,
    }
    harness.run("rope.rotate", pairing, **fields)
    heads = before[:, : n_head * head_dim].reshape(rows, n_head, head_dim)
    np.testing.assert_array_equal(x[:, : n_head * head_dim], rotated(heads, t, n_rot, pairing).reshape(rows, -1))
    np.testing.assert_array_equal(x[:, n_head * head_dim :], before[:, n_head * head_dim :])


@pytest.mark.parametrize(("k_dim", "v_dim", "n_rot"), [(64, 64, 64), (24, 40, 16), (48, 24, 48)])
@pytest.mark.parametrize("kv", ["f16", "f32"])
@pytest.mark.parametrize("pairing", harness.PAIRINGS)
def test_cache(pairing, kv, k_dim, v_dim, n_rot):
    """Keys rotated, then stored 16 cells side by side; values a cell a row; nothing else in the cache is touched."""
    n_seq, n_head, n_cells = 3, 2, 64
    positions, seqs = [0, 1, 2, 15, 16, 63, 7], [0, 0, 0, 2, 2, 2, 1]
    rows, rng = len(positions), np.random.default_rng(1)
    t = table(positions, frequencies(n_rot // 2))
    k = harness.placed(rng.standard_normal((rows, n_head * k_dim)).astype(np.float32))
    v = harness.placed(rng.standard_normal((rows, n_head * v_dim)).astype(np.float32))
    v[0, :4] = [1e-7, 70000.0, -6e-8, 65519.0]  # a subnormal half, an infinite one, and roundings at both ends
    keys = rotated(k.copy().reshape(rows, n_head, k_dim), t, n_rot, pairing)
    dtype = np.float16 if kv == "f16" else np.float32
    k_cache = harness.buffer((n_seq, n_head, n_cells // 16, k_dim, 16), dtype)
    v_cache = harness.buffer((n_seq, n_head, n_cells, v_dim), dtype)
    k_expected, v_expected = k_cache.copy(), v_cache.copy()
    with np.errstate(over="ignore"):
        for row, (position, seq) in enumerate(zip(positions, seqs, strict=True)):
            k_expected[seq, :, position // 16, :, position % 16] = keys[row].astype(dtype)
            v_expected[seq, :, position] = v[row].reshape(n_head, v_dim).astype(dtype)
    step, _alive = harness.step(positions=positions, seqs=seqs)
    harness.run(
        "rope.cache", pairing, kv, step=step, k=k, k_stride=k.strides[0], v=v, v_stride=v.strides[0], n_head=n_head,
        k_dim=k_dim, v_dim=v_dim, n_rot=n_rot, table=t, k_cache=k_cache, v_cache=v_cache, n_cells=n_cells,
    )  # fmt: skip
    np.testing.assert_array_equal(k_cache.view(np.uint8), k_expected.view(np.uint8))
    np.testing.assert_array_equal(v_cache.view(np.uint8), v_expected.view(np.uint8))


@pytest.mark.parametrize(("k_dim", "v_dim", "n_rot"), [(64, 64, 64), (96, 32, 16)])
@pytest.mark.parametrize("pairing", harness.PAIRINGS)
@pytest.mark.parametrize("kv", stored.QUANTIZED)
def test_cache_of_codes(pairing, kv, k_dim, v_dim, n_rot):
    """Codes and scales of each 32 elements of a cell, bit for bit; nothing else in the cache is touched."""
    n_seq, n_head, n_cells = 2, 3, 32
    positions, seqs = [0, 1, 15, 16, 31, 7], [0, 0, 1, 1, 1, 1]
    rows, rng = len(positions), np.random.default_rng(1)
    t = table(positions, frequencies(n_rot // 2))
    k = harness.placed(rng.standard_normal((rows, n_head * k_dim)).astype(np.float32))
    v = harness.placed(rng.standard_normal((rows, n_head * v_dim)).astype(np.float32))
    v[0, :32], v[1, :32] = 0, 1e-39  # no scale at all, and one below what counts
    v[2, :4], v[3, 1:3] = [5, -5, 2.5, -2.5], [-5, 5]  # of equals the first gives the sign; codes between two
    keys = rotated(k.copy().reshape(rows, n_head, k_dim), t, n_rot, pairing)
    caches = [
        harness.buffer((n_seq, n_head, n_cells // 16, 16 * cell_bytes(kv, k_dim)), np.uint8),
        harness.buffer((n_seq, n_head, n_cells, cell_bytes(kv, v_dim)), np.uint8),
    ]
    expected = [cache.copy() for cache in caches]
    for row, (position, seq) in enumerate(zip(positions, seqs, strict=True)):
        tile = expected[0][seq, :, position // 16]
        tile[:, stored.lanes(kv, k_dim) == position % 16] = stored.rows(kv, stored.keys_of(kv, keys[row]))
        expected[1][seq, :, position] = stored.rows(kv, v[row].reshape(n_head, v_dim))
    step, _alive = harness.step(positions=positions, seqs=seqs)
    harness.run(
        "rope.cache", pairing, kv, step=step, k=k, k_stride=k.strides[0], v=v, v_stride=v.strides[0],
        n_head=n_head, k_dim=k_dim, v_dim=v_dim, n_rot=n_rot, table=t, k_cache=caches[0], v_cache=caches[1],
        n_cells=n_cells,
    )  # fmt: skip
    for cache, right in zip(caches, expected, strict=True):
        np.testing.assert_array_equal(cache, right)

"""Products of each head against float64, and the ways of the products against each other."""

import numpy as np
import pytest

from localllm.kernels.formats.table import FORMATS
from tests import reference
from tests.kernels import harness
from tests.kernels.test_experts import GROUPS, N_EXPERT, NAMES, K, N, activation_fields, bank, normal

N_HEAD = N_EXPERT
"""A head for each matrix of the bank."""


@pytest.mark.parametrize("pad", [1, 16])
@pytest.mark.parametrize(("n_rows", "n"), [(1, 16), (5, 23), (16, 8), (17, 100)])
def test_gather(pad, n_rows, n):
    """Parts of rows, which have more elements behind each head's and before the first."""
    rows = normal(n_rows, 3, n + 5)
    x, padded = rows[..., 5:], -(-n_rows // pad) * pad
    out, n_places = harness.buffer((3, padded, n)), harness.buffer(1, np.int64)
    harness.run(
        "heads.gather", n_rows_at=np.array([n_rows]), n_head=3, n=n, x=x, row=x.strides[0], head=x.strides[1], pad=pad,
        out=out, n_places=n_places,
    )  # fmt: skip
    expected = np.zeros((3, padded, n), np.float32)
    expected[:, :n_rows] = x.swapaxes(0, 1)
    np.testing.assert_array_equal(out, expected)
    assert n_places[0] == 3 * padded


@pytest.mark.parametrize(("nope", "n_rot", "v_dim"), [(32, 16, 48), (7, 2, 21), (0, 4, 5), (9, 0, 1)])
def test_split(nope, n_rot, v_dim):
    n_rows, n_head = 6, 3
    kv, rotated = normal(n_rows, n_head, nope + v_dim), normal(n_rows, 5 + n_rot, seed=1)[:, 5:]
    k, v = harness.buffer((n_rows, n_head, nope + n_rot)), harness.buffer((n_rows, n_head, v_dim))
    harness.run(
        "heads.split", n_rows_at=np.array([n_rows]), n_head=n_head, nope=nope, n_rot=n_rot, v_dim=v_dim, kv=kv,
        rotated=rotated, stride=rotated.strides[0], k=k, v=v,
    )  # fmt: skip
    np.testing.assert_array_equal(k[..., :nope], kv[..., :nope])
    np.testing.assert_array_equal(k[..., nope:], np.repeat(rotated[:, None], n_head, 1))
    np.testing.assert_array_equal(v, kv[..., nope:])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_rows", [1, 3, 16, 33])
def test_products(name, n_rows):
    """Few rows, and rows in tiles: the exact product of what the activations stand for, and the same bits."""
    raw, exact = bank(name)
    x = normal(n_rows, N_HEAD, K)
    seen = reference.activations(x.reshape(-1, K), GROUPS[name]).reshape(x.shape) if GROUPS[name] else x
    expected = np.einsum("hnk,thk->thn", exact, seen.astype(np.float64))
    bound = np.einsum("hnk,thk->thn", np.abs(exact), np.abs(seen).astype(np.float64))
    w = {"w": raw, "row_bytes": raw.shape[-1], "n": N, "k": K, "n_head": N_HEAD, "n_rows_at": np.array([n_rows])}
    head_after_head = x.swapaxes(0, 1)
    fields, sizes = activation_fields(name, head_after_head.reshape(-1, K), tiles=False)
    few = harness.buffer((n_rows, N_HEAD, N))
    steps = dict(zip(("x_row", "d_row", "s_row"), sizes, strict=False))
    harness.run("heads.rows", module(name), out=few, chunk=4, **w, **fields, **steps)
    assert (np.abs(few - expected) <= 1e-6 * bound + 1e-6).all()
    padded = np.zeros((N_HEAD, -(-n_rows // 16) * 16, K), np.float32)
    padded[:, :n_rows] = head_after_head
    fields, sizes = activation_fields(name, padded.reshape(-1, K), tiles=True)
    many = harness.buffer((n_rows, N_HEAD, N))
    steps = dict(zip(("row", "row_d", "row_s", "row_p"), sizes, strict=True))
    harness.run("heads.tiles", module(name), out=many, **w, **fields, **steps)
    np.testing.assert_array_equal(many, few)


def module(name: str) -> str:
    return FORMATS[name].module

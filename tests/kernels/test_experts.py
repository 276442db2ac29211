"""Routing and the experts' products against float64, and the two ways of the products against each other."""

import numpy as np
import pytest

from localllm.kernels.formats.table import FORMATS
from tests import reference
from tests.kernels import blocks, harness

N_EXPERT, N, K = 8, 37, 256
NAMES = tuple(f.name for f in FORMATS.values() if f.module in harness.EXPERTS_FORMATS)
GROUPS = {"F32": 0, "Q8_0": 32, "Q4_K": 256}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return harness.placed(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def route(gating: str, logits: np.ndarray, n_used: int, **fields) -> tuple[np.ndarray, np.ndarray]:
    n_rows, n = logits.shape
    ids, weights = harness.buffer((n_rows, n_used), np.int32), harness.buffer((n_rows, n_used))
    fields = {"factor": harness.bits(1.0), "divide": 1, "normed": 0} | fields
    harness.run(
        "experts.route", gating, n_rows_at=np.array([n_rows]), n_expert=n, n_used=n_used, logits=logits,
        probs=harness.buffer((n_rows, 2, n)), ids=ids, weights=weights, **fields,
    )  # fmt: skip
    return ids, weights


def probabilities(gating: str, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    if gating == "softmax":
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)
    return {"sigmoid": lambda: 1 / (1 + np.exp(-x)), "sqrt_softplus": lambda: np.sqrt(np.log1p(np.exp(x)))}[gating]()


@pytest.mark.parametrize("gating", ["softmax", "sigmoid", "sqrt_softplus"])
@pytest.mark.parametrize(("n", "n_used"), [(8, 2), (128, 8), (7, 7)])
def test_route(gating, n, n_used):
    logits, bias = normal(5, n), normal(n, seed=1)
    exact = probabilities(gating, logits)
    for extra, choice in (({}, exact), ({"bias": bias}, exact + bias)):
        ids, weights = route(gating, logits, n_used, **extra)
        np.testing.assert_array_equal(ids, np.argsort(-choice, -1, kind="stable")[:, :n_used])
        np.testing.assert_allclose(weights, np.take_along_axis(exact, ids.astype(np.int64), -1), rtol=2e-6)
    _, weights = route(gating, logits, n_used, normed=1, factor=harness.bits(2.5))
    np.testing.assert_allclose(weights.sum(-1), 2.5, rtol=1e-6)


def test_softmax_of_the_chosen_alone():
    logits = normal(5, 32)
    ids, weights = route("softmax_weight", logits, 4)
    np.testing.assert_allclose(
        weights, probabilities("softmax", np.take_along_axis(logits, ids.astype(np.int64), -1)), rtol=2e-6
    )


def test_groups():
    """Of four groups of eight, the two with the greatest sums of their best two."""
    logits = normal(40, 32)
    ids, _ = route("sigmoid", logits, 6, n_groups=4, n_group_used=2)
    exact = probabilities("sigmoid", logits).reshape(40, 4, 8)
    for row in range(40):
        kept = np.argsort(-np.sort(exact[row], -1)[:, -2:].sum(-1))[:2]
        choice = np.where(np.isin(np.arange(4), kept)[:, None], exact[row], -1).ravel()
        np.testing.assert_array_equal(ids[row], np.argsort(-choice)[:6])


def test_what_is_no_number_is_chosen_last_and_once():
    """More rows for an expert than there are in the batch would leave the memory that is kept for them."""
    logits = normal(3, 8)
    logits[0], logits[1, 2:], logits[2, 0] = np.nan, np.nan, np.inf
    ids, _ = route("sigmoid", logits, 5)
    for row in ids:
        assert len(set(row)) == 5
        assert ((row >= 0) & (row < 8)).all()
    assert set(ids[1][:2]) == {0, 1}


def test_more_rows_for_one_expert_than_matmul_takes():
    n = 1100
    ids, x = harness.placed(np.full((n, 1), 2, np.int32)), normal(n, K)
    raw, exact = bank("Q8_0")
    g = grouped(ids)
    fields, sizes = activation_fields("Q8_0", np.resize(x, (-(-n // 16) * 16, K)), tiles=True)
    y = harness.buffer((-(-n // 16) * 16, N))
    harness.run(
        "experts.tiles", "q8_0", n_expert=N_EXPERT, counts=g["counts"], starts=g["starts"], out=y, w=raw,
        stride=N * raw.shape[1], row_bytes=raw.shape[1], n=N, k=K, **fields,
        **dict(zip(("row", "row_d", "row_s", "row_p"), sizes, strict=True)),
    )  # fmt: skip
    expected = reference.activations(x, 32) @ exact[2].T
    np.testing.assert_allclose(y[:n], expected, atol=1e-4)


def test_ids_divided():
    logits = normal(3, 8)
    ids, weights = route("softmax", logits, 2, divide=4)
    exact = probabilities("softmax", logits)
    best = np.argsort(-exact, -1)[:, :2] // 4
    np.testing.assert_array_equal(ids, best)
    np.testing.assert_allclose(weights, np.take_along_axis(exact, best, -1), rtol=2e-6)


def grouped(ids: np.ndarray) -> dict[str, np.ndarray]:
    n_rows, n_used = ids.shape
    max_places = n_rows * n_used + 16 * N_EXPERT
    out = {
        "counts": harness.buffer(N_EXPERT, np.int64), "starts": harness.buffer(N_EXPERT, np.int64),
        "places": harness.buffer(ids.shape, np.int32), "sources": harness.buffer(max_places, np.int32),
        "n_places": harness.buffer(1, np.int64),
    }  # fmt: skip
    harness.run("experts.group", n_rows_at=np.array([n_rows]), n_expert=N_EXPERT, n_used=n_used, ids=ids, **out)
    return out


def some_ids(n_rows: int, n_used: int, seed: int = 3) -> np.ndarray:
    """Each row's experts differ; expert 5 is never chosen."""
    rng = np.random.default_rng(seed)
    others = [e for e in range(N_EXPERT) if e != 5]
    return harness.placed(np.array([rng.permutation(others)[:n_used] for _ in range(n_rows)], np.int32))


@pytest.mark.parametrize(("n_rows", "n_used"), [(1, 2), (50, 3), (200, 7)])
def test_group(n_rows, n_used):
    ids = some_ids(n_rows, n_used)
    g = grouped(ids)
    np.testing.assert_array_equal(g["counts"], np.bincount(ids.ravel(), minlength=N_EXPERT))
    assert (g["starts"] % 16 == 0).all()
    assert len(set(g["places"].ravel())) == ids.size
    for row in range(n_rows):
        for slot in range(n_used):
            place, expert = g["places"][row, slot], ids[row, slot]
            assert 0 <= place - g["starts"][expert] < g["counts"][expert]
            assert g["sources"][place] == row * n_used + slot
    assert (g["sources"][: g["n_places"][0]] >= 0).sum() == ids.size


def activation_fields(name: str, x: np.ndarray, tiles: bool) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    """Activations as quantize gives them, and the bytes that a row takes of each field."""
    group = GROUPS[name]
    if not group:
        return {"x": harness.placed(x)}, (4 * K, 0, 0, 0)
    codes, d = reference.quantize(x, group)
    s32, s16 = reference.sums(codes, 32), reference.sums(codes, 16)
    if not tiles:
        s = d * s32.astype(np.float32) if group == 32 else s16.astype(np.int16)
        fields = {"x": codes, "x_d": d, "x_s": s}
        return {f: harness.placed(v) for f, v in fields.items()}, (K, K // group * 4, s.strides[0], 0)
    if group == 32:
        s, p = reference.to_tiles(s32, 1), reference.to_tiles(d * s32.astype(np.float32), 1)
    else:
        s, p = reference.to_tiles(s16, 1), reference.pairs(codes)
    fields = {"x": reference.to_tiles(codes, 4), "x_d": reference.to_tiles(d, 1), "x_s": s, "x_p": p}
    placed = {f: harness.placed(np.ascontiguousarray(v)) for f, v in fields.items()}
    return placed, (K, K // group * 4, s.nbytes // (len(s) * 16), p.nbytes // (len(p) * 16))


def bank(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The experts' rows as bytes, and as numbers [N_EXPERT, N, K]."""
    rng = np.random.default_rng(1)
    if name == "F32":
        raw = rng.standard_normal((N_EXPERT * N, K)).astype(np.float32).view(np.uint8)
    else:
        raw = blocks.with_scales(
            name,
            rng.integers(0, 256, (N_EXPERT * N, FORMATS[name].row_bytes(K)), np.uint8),
            lambda m: (rng.random(m) * 0.01).astype(np.float16).view(np.uint16),
        )
    return harness.placed(raw), reference.dequantize(name, raw).reshape(N_EXPERT, N, K).astype(np.float64)


@pytest.mark.parametrize("name", NAMES)
def test_products(name):
    """Rows in place for one row of activations and tiles for a batch: near the exact product, and the same bits."""
    n_rows, n_used = 45, 3
    raw, exact = bank(name)
    module, bias = FORMATS[name].module, normal(N_EXPERT, N, seed=2)
    x, ids = normal(n_rows, K), some_ids(n_rows, n_used)
    g = grouped(ids)
    n_places = int(g["n_places"][0])
    gathered, y = harness.buffer((n_places, K)), harness.buffer((n_places, N))
    harness.run(
        "experts.gather", n_places_at=g["n_places"], n=K, n_used=n_used, x=x, sources=g["sources"], weights=0,
        out=gathered,
    )  # fmt: skip
    fields, sizes = activation_fields(name, gathered, tiles=True)
    shared = {
        "w": raw, "stride": N * raw.shape[1], "row_bytes": raw.shape[1], "n": N, "k": K, "bias": bias,
        "bias_stride": 4 * N,
    }  # fmt: skip
    harness.run(
        "experts.tiles", module, n_expert=N_EXPERT, counts=g["counts"], starts=g["starts"], out=y, **shared, **fields,
        **dict(zip(("row", "row_d", "row_s", "row_p"), sizes, strict=True)),
    )  # fmt: skip
    seen = reference.activations(x, GROUPS[name]) if GROUPS[name] else x.astype(np.float64)
    for row in range(n_rows):
        one, _ = activation_fields(name, x[row : row + 1], tiles=False)
        out = harness.buffer((n_used, N))
        harness.run(
            "experts.rows", module, n_used=n_used, ids=harness.placed(ids[row]), out=out, chunk=4, **shared, **one
        )
        expected = exact[ids[row]] @ seen[row] + bias[ids[row]]
        bound = np.abs(exact[ids[row]]) @ np.abs(seen[row])
        assert (np.abs(out - expected) <= 1e-6 * bound + 1e-6).all()
        np.testing.assert_array_equal(out, y[g["places"][row]])


def test_slots_with_activations_of_their_own():
    raw, exact = bank("F32")
    x, ids, out = normal(3, K), some_ids(1, 3), harness.buffer((3, N))
    harness.run(
        "experts.rows", "f32", n_used=3, ids=ids, out=out, chunk=6, w=raw, stride=N * raw.shape[1], n=N, k=K,
        row_bytes=raw.shape[1], x=x, slot=4 * K,
    )  # fmt: skip
    expected = np.einsum("snk,sk->sn", exact[ids[0]], x.astype(np.float64))
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_gather_weighs_and_combine_adds_up():
    n_rows, n_used, n = 20, 2, 50
    ids, x, weights = some_ids(n_rows, n_used), normal(n_rows, n), normal(n_rows, n_used, seed=5)
    g = grouped(ids)
    places = int(g["n_places"][0])
    out = harness.buffer((places, n))
    harness.run(
        "experts.gather", n_places_at=g["n_places"], n=n, n_used=n_used, x=x, sources=g["sources"], weights=weights,
        out=out,
    )  # fmt: skip
    np.testing.assert_array_equal(out[g["places"]], x[:, None] * weights[..., None])
    assert (out[g["sources"][:places] < 0] == 0).all()
    y, add = normal(places, n, seed=6), normal(n_rows, n, seed=7)
    result = harness.placed(add)
    harness.run(
        "experts.combine", n_rows_at=np.array([n_rows]), n=n, n_used=n_used, y=y, places=g["places"], weights=weights,
        add=result, out=result,
    )  # fmt: skip
    expected = (y[g["places"]].astype(np.float64) * weights[..., None]).sum(1) + add
    np.testing.assert_allclose(result, expected, atol=1e-6)

"""The indexer's scores against float64, and the choice of the greatest."""

import numpy as np
import pytest

from localllm.kernels.cells import KV_TYPES
from localllm.kernels.indexer import NONE
from tests.kernels import harness, stored

N_KEYS = 512


def normal(rng, *shape, scale=1.0):
    return harness.placed((scale * rng.standard_normal(shape)).astype(np.float32))


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize(("n_head", "T", "dim", "ratio"), [(64, 8, 128, 4), (5, 4, 32, 1), (1, 3, 64, 4)])
def test_scores(n_head, T, dim, ratio, kv):
    rng = np.random.default_rng(n_head)
    positions, seqs, top_k = [511, 3, 300, 257], [0, 1, 1, 0], 20
    q, weights, keys = normal(rng, 4, n_head, dim), normal(rng, 4, n_head), normal(rng, 2, N_KEYS, dim)
    step, keep = harness.step(positions=positions, seqs=seqs)
    out = harness.buffer((4, N_KEYS))
    harness.run(
        "indexer.scores", kv, T, step=step, q=q, n_head=n_head, dim=dim, weights=weights,
        keys=harness.placed(stored.tiles(kv, keys)), n_keys=N_KEYS, ratio=ratio, top_k=top_k, out=out,
    )  # fmt: skip
    assert keep
    for row, (position, seq) in enumerate(zip(positions, seqs, strict=True)):
        n = (position + 1) // ratio
        if n <= top_k:
            assert (out[row].view(np.uint8) == 0xA5).all()
            continue
        known = stored.known_keys(kv, keys[seq, :n]).astype(np.float64)
        products = np.maximum(known @ stored.queries(kv, q[row], 1.0).astype(np.float64).T, 0)
        exact, size = products @ weights[row], products @ np.abs(weights[row])
        assert (np.abs(out[row, :n] - exact) <= 3e-6 * size + 1e-5).all()


def choose(scores, positions, ratio, top_k):
    step, keep = harness.step(positions=positions, seqs=[0] * len(positions))
    out = harness.buffer((len(positions), top_k), np.int32)
    harness.run("indexer.choose", step=step, scores=scores, n_keys=N_KEYS, ratio=ratio, top_k=top_k, out=out)
    assert keep
    return out


@pytest.mark.parametrize("ratio", [1, 4])
@pytest.mark.parametrize("top_k", [1, 7, 64, 300])
def test_the_greatest_are_chosen(top_k, ratio):
    rng = np.random.default_rng(top_k)
    positions = [0, 6, 27, 28, 300, 511]
    scores = normal(rng, len(positions), N_KEYS, scale=5)
    exact = scores.copy()
    out = choose(scores, positions, ratio, top_k)
    for row, position in enumerate(positions):
        n = (position + 1) // ratio
        best = np.sort(np.argsort(-exact[row, :n], kind="stable")[:top_k])
        np.testing.assert_array_equal(out[row, : len(best)], best)


def test_of_equals_the_first():
    scores = harness.placed(np.zeros((3, N_KEYS), np.float32))
    scores[1, ::2], scores[1, 1::2] = -1.0, 1.0
    scores[2, 100:] = -3e38
    out = choose(scores, [511, 511, 511], 1, 130)
    np.testing.assert_array_equal(out[0], np.arange(130))
    np.testing.assert_array_equal(out[1], 1 + 2 * np.arange(130))
    np.testing.assert_array_equal(out[2], np.arange(130))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_is_chosen_by_what_is_not_finite(value):
    """What attention makes of it is NaN. Scores of keys that a row does not see do not count."""
    scores = normal(np.random.default_rng(0), 3, N_KEYS)
    scores[0, 7], scores[1, 511], scores[2, 400] = value, value, value
    out = choose(scores, [511, 511, 399], 1, 118)
    assert (out[:2] == NONE).all()
    assert (out[2] >= 0).all()

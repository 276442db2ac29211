"""Experts by a table of tokens, against float64."""

import numpy as np
import pytest

from tests.kernels import harness
from tests.kernels.test_experts import normal, probabilities

N_VOCAB = 11


@pytest.mark.parametrize("gating", ["softmax", "sigmoid", "sqrt_softplus"])
@pytest.mark.parametrize(("n", "n_used"), [(8, 2), (33, 6)])
def test_route(gating, n, n_used):
    rng = np.random.default_rng(n)
    logits, tokens = normal(5, n), rng.integers(0, N_VOCAB, 5)
    table = harness.placed(np.stack([rng.permutation(n)[:n_used] for _ in range(N_VOCAB)]).astype(np.int32))
    step, keep = harness.step(tokens=tokens)
    exact = np.take_along_axis(probabilities(gating, logits), table[tokens].astype(np.int64), -1)
    for normed in (0, 1):
        ids, weights = harness.buffer((5, n_used), np.int32), harness.buffer((5, n_used))
        harness.run(
            "hash_experts.route", gating, step=step, n_expert=n, n_used=n_used, logits=logits, table=table,
            normed=normed, factor=harness.bits(1.5), probs=harness.buffer((5, n)), ids=ids, weights=weights,
        )  # fmt: skip
        assert keep
        np.testing.assert_array_equal(ids, table[tokens])
        divisor = exact.sum(-1, keepdims=True) if normed else 1
        np.testing.assert_allclose(weights, 1.5 * exact / divisor, rtol=3e-6)

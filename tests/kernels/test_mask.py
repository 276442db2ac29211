"""Masks of tokens: bit by bit what the twin does, and nothing beyond the logits."""

import numpy as np
import pytest

from tests import reference
from tests.kernels import harness


@pytest.mark.parametrize("n_bits", [0, 1, 31, 32, 33, 8000, 8192, 8209, 20000])
@pytest.mark.parametrize("more", [-30, 0, 1, 40, 9000])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_mask(n_bits, more, density):
    """Fewer logits than bits, as many, and more, as in a file whose matrix has rows that no token uses."""
    rng = np.random.default_rng(n_bits)
    n = max(1, n_bits + more)
    logits = harness.buffer(n)
    logits[:] = rng.standard_normal(n)
    odd = np.array([np.inf, -0.0, np.nan, -np.inf, 1e-45, 3e38], np.float32)[:n]
    logits[rng.permutation(n)[: len(odd)]] = odd
    chosen = np.zeros(-(-n_bits // 32) * 32, bool)
    chosen[:n_bits] = rng.random(n_bits) < density
    bits = harness.placed(np.packbits(chosen, bitorder="little").view(np.uint32))
    expected = reference.masked(logits, bits, n_bits)
    harness.run("mask.logits", n=n, n_bits=n_bits, bits=bits, logits=logits)
    np.testing.assert_array_equal(logits.view(np.int32), expected.view(np.int32))
    assert np.all(harness.margin(logits) == 0xA5)

"""The mask kernel as Python calls it."""

import numpy as np
import pytest

from localllm.generate.token_mask import TokenMask
from tests.reference import masked


def test_masks_follow_one_another():
    """Also over logits of other sizes, at any address that a float may have."""
    rng, mask = np.random.default_rng(1), TokenMask(1000, 32)
    for n in (1000, 1003, 40_000, 900, 1):
        mask.bits[:] = rng.integers(0, 2**32, 32, np.uint32)
        logits = rng.standard_normal(n + 1).astype(np.float32)[1:]
        expected = masked(logits, mask.bits, 1000)
        mask.apply(logits)
        np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize(
    "logits", [np.zeros(8), np.zeros((1, 8), np.float32), np.zeros(16, np.float32)[::2]], ids=["f64", "2d", "strided"]
)
def test_other_arrays_are_refused(logits):
    with pytest.raises(ValueError, match="contiguous float32"):
        TokenMask(8, 1).apply(logits)

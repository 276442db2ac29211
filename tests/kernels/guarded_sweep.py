"""Products and embedding rows of every format, of odd shapes: rows of one block and of odd numbers of them, 1 to 33
rows of weights, 1 to 17 of activations."""

from __future__ import annotations

from collections import Counter

import numpy as np

from localllm.kernels.formats.table import FORMATS
from tests.kernels import blocks, guarded, harness, test_embed, test_products

FLOAT_LENGTHS = (1, 15, 17, 33, 63)
BLOCKS = (1, 3, 5)
ROWS = range(1, 34)


def run_all(side: str, every: int) -> Counter[str]:
    guards = guarded.Guards(side)
    guards.install()
    counts: Counter[str] = Counter()
    for name in (f.name for f in harness.SUPPORTED):
        block = FORMATS[name].block
        lengths = FLOAT_LENGTHS if block == 1 else [n * block for n in BLOCKS]
        shapes = [(k, n) for k in lengths for n in ROWS]
        for k, n in shapes[::every]:
            tokens = (5 * n) % 17 + 1
            raw, x = blocks.weights(name, n, k, np.random.default_rng(n)), test_products.inputs(tokens, k, n)
            test_embed.embed(name, raw, [n - 1, 0])
            test_products.matvec(name, raw, x[:1])
            test_products.fours(name, raw, x[:8])
            test_products.matmul(name, raw, x)
            counts["shapes"] += 4
        counts["kernels"] += 4
    counts["calls"] = guards.calls
    return counts

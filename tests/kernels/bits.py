"""Writes a hash of what each kernel computes from fixed numbers, for the target at hand, as JSON."""

import hashlib
import json
import sys

import numpy as np

from localllm.kernels.attention import CHUNK
from localllm.kernels.cells import KV_TYPES
from tests.kernels import (
    blocks,
    harness,
    test_attention,
    test_compress,
    test_embed,
    test_hyper,
    test_joined_attention,
    test_products,
    test_quantize,
    test_rope,
    test_rounding,
    test_rows,
    test_ssm,
)


def outcomes():
    """(name of the kernel, array) pairs."""
    for name in test_products.NAMES:
        k = test_products.lengths(name)[3]
        raw, x = blocks.weights(name, 37, k, np.random.default_rng(0)), test_products.inputs(50, k, 1)
        yield f"embed {name}", test_embed.embed(name, raw, [0, 3, 36], 1.7)
        yield f"matvec {name}", test_products.matvec(name, raw, x[:1])
        yield f"matmul {name}", test_products.matmul(name, raw, x)
    for group in (32, 256):
        for field, array in test_quantize.tiles(test_quantize.some_rows(20, 512), group, 2048).items():
            yield f"quantize {group} {field}", array
    matrix, importance = test_products.inputs(20, 768, 2), np.random.default_rng(3).random(768)
    for name in test_rounding.WRITTEN:
        yield f"rounding {name}", test_rounding.encode(name, matrix, run=harness.run)
        yield f"rounding {name} weighted", test_rounding.encode(name, matrix, importance, run=harness.run)
    x, w = test_rows.normal(5, 897), test_rows.normal(897, seed=1)
    yield "rms", test_rows.rms(x, w, 897, 1, harness.buffer(x.shape))
    for function in test_rows.FUNCTIONS:
        out = harness.buffer(x.shape)
        harness.run("activation.gated", function, n_rows_at=np.array([5]), n=897, gate=x, up=x, out=out)
        yield function, out
    yield "rope table", test_rope.table(test_rope.POSITIONS, test_rope.frequencies(32))
    entries, out = test_compress.Case(100, 4, 1, 32), harness.buffer((2, test_compress.N_ENTRIES, 100))
    entries.run("rows", "f32", out, *test_compress.BOTH)
    yield "compress", out
    yield "hyper", test_hyper.weights(20, 5)
    for kv in KV_TYPES:
        rows = test_joined_attention.POSITIONS, test_joined_attention.SEQS
        yield f"joined attention {kv}", test_joined_attention.Case(*rows, kv=kv, n_head=11, dim=96, top_k=6).run()
    for kv, T in harness.ATTENTION:
        case = test_attention.Case(range(250, 280), kv=kv, window=200)
        yield f"attention {kv} {T}", case.run(T, block=8)
        yield f"attention {kv} {T} split", case.run(T, split=CHUNK)
    for shape in test_ssm.SHAPES:
        scan = test_ssm.Case(*shape, n_rows=9)
        yield f"scan {shape}", scan.run(test_ssm.ROWS_OF, test_ssm.RUNS)
        yield f"scan {shape} state", scan.state[:3]


def hashes() -> dict[str, str]:
    return {name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16] for name, array in outcomes()}


if __name__ == "__main__":
    json.dump(hashes(), sys.stdout)

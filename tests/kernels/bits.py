"""Writes a hash of what each kernel computes from fixed numbers, for the target at hand, as JSON. Arguments: with which
words the names of those that are wanted begin."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial

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

Outcome = np.ndarray | dict[str, np.ndarray]


def outcomes() -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Names, the kernel's in front, and what computes an array, or several with names of their own."""
    for name in test_products.NAMES:
        yield f"embed {name}", partial(test_embed.embed, name, _weights(name), [0, 3, 36], 1.7)
        yield f"matvec {name}", partial(test_products.matvec, name, _weights(name), _inputs(name)[:1])
        yield f"matmul {name}", partial(test_products.matmul, name, _weights(name), _inputs(name))
    for group in (32, 256):
        yield f"quantize {group}", partial(test_quantize.tiles, test_quantize.some_rows(20, 512), group, 2048)
    matrix, importance = test_products.inputs(20, 768, 2), np.random.default_rng(3).random(768)
    for name in test_rounding.WRITTEN:
        yield f"rounding {name}", partial(_rounded, name, matrix)
        yield f"rounding {name} weighted", partial(_rounded, name, matrix, importance)
    yield "rms", _rms
    for function in test_rows.FUNCTIONS:
        yield function, partial(_gated, function)
    yield "rope table", lambda: test_rope.table(test_rope.POSITIONS, test_rope.frequencies(32))
    yield "compress", _compressed
    yield "hyper", lambda: test_hyper.weights(20, 5)
    for kv in KV_TYPES:
        yield f"joined attention {kv}", partial(_joined, kv)
    for kv, T in harness.ATTENTION:
        yield f"attention {kv} {T}", partial(_attention, kv, T, block=8)
        yield f"attention {kv} {T} split", partial(_attention, kv, T, split=CHUNK)
    for shape in test_ssm.SHAPES:
        yield f"scan {shape}", partial(_scan, shape)


def _weights(name: str) -> np.ndarray:
    return blocks.weights(name, 37, test_products.lengths(name)[3], np.random.default_rng(0))


def _inputs(name: str) -> np.ndarray:
    return test_products.inputs(50, test_products.lengths(name)[3], 1)


def _rounded(name: str, matrix: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    return test_rounding.encode(name, matrix, importance, run=harness.run)


def _rms() -> np.ndarray:
    x, w = test_rows.normal(5, 897), test_rows.normal(897, seed=1)
    return test_rows.rms(x, w, 897, 1, harness.buffer(x.shape))


def _gated(function: str) -> np.ndarray:
    x = test_rows.normal(5, 897)
    out = harness.buffer(x.shape)
    harness.run("activation.gated", function, n_rows_at=np.array([5]), n=897, gate=x, up=x, out=out)
    return out


def _compressed() -> np.ndarray:
    entries, out = test_compress.Case(100, 4, 1, 32), harness.buffer((2, test_compress.N_ENTRIES, 100))
    entries.run("rows", "f32", out, *test_compress.BOTH)
    return out


def _joined(kv: str) -> np.ndarray:
    rows = test_joined_attention.POSITIONS, test_joined_attention.SEQS
    return test_joined_attention.Case(*rows, kv=kv, n_head=11, dim=96, top_k=6).run()


def _attention(kv: str, T: int, **how: int) -> np.ndarray:
    return test_attention.Case(range(250, 280), kv=kv, window=200).run(T, **how)


def _scan(shape) -> dict[str, np.ndarray]:
    scan = test_ssm.Case(*shape, n_rows=9)
    return {"": scan.run(test_ssm.ROWS_OF, test_ssm.RUNS), "state": scan.state[:3]}


def hashes(wanted: Callable[[str], object] = bool) -> dict[str, str]:
    """Of the outcomes whose names are wanted."""
    out = {}
    for name, computed in outcomes():
        if wanted(name):
            found = computed()
            for part, array in found.items() if isinstance(found, dict) else [("", found)]:
                content = np.ascontiguousarray(array).tobytes()
                out[f"{name} {part}".rstrip()] = hashlib.sha256(content).hexdigest()[:16]
    return out


if __name__ == "__main__":
    json.dump(hashes(lambda name: not sys.argv[1:] or name.split()[0] in sys.argv[1:]), sys.stdout)

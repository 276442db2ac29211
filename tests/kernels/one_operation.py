"""Runs the kernels of operations.py and tile_operations.py, one at a time."""

import base64
from functools import cache

import numpy as np

from localllm.kernels import objects
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import current
from tests.kernels import harness, operations


@cache
def addresses() -> dict[str, int]:
    """Compiled in another process, which may import numba, and linked as all kernels are."""
    done = harness.python(current().name, "-m", "tests.kernels.compile_operations")
    assert done.returncode == 0, done.stderr
    found: dict[Key, tuple[str, bytes]] = {}
    for line in done.stdout.splitlines():
        name, encoded = line.split()
        symbol, _, code = base64.b64decode(encoded).partition(b"\n")
        found[Key("operations", name)] = (symbol.decode(), code)
    linker = objects._linker()
    linker.add(found)
    return {key.factory: linker.addresses[key] for key in found}


def run(name: str, out_bytes: int, a=None, b=None, c=None, n: int | np.ndarray = 0) -> np.ndarray:
    out = harness.buffer(out_bytes, np.uint8)
    given = {field: harness.placed(v) for field, v in (("a", a), ("b", b), ("c", c)) if v is not None}
    harness.team().call(addresses()[name], harness.block(operations.Params, out=out, n=n, **given))
    return out


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def random_bits(dtype: type, n: int) -> np.ndarray:
    return rng().integers(0, 256, n * np.dtype(dtype).itemsize, np.uint8).view(dtype)


def assert_vectors(out: np.ndarray, *expected: np.ndarray) -> None:
    """The vectors that the kernel stored one after another."""
    at = 0
    for i, e in enumerate(expected):
        np.testing.assert_array_equal(out[at : at + e.nbytes].view(e.dtype), e, err_msg=f"result {i}")
        at += e.nbytes

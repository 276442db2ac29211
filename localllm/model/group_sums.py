"""Sums of 32 neighbours in rows of weights, which `--precision high` multiplies with the middles of activations.

See kernels/middles.py. They are made when a context is, once a model, and take 2 bytes for 32 weights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from localllm.errors import UnsupportedError
from localllm.kernels import middles, quantize
from localllm.kernels.objects import Key
from localllm.model.weights import Weight
from localllm.runtime.arrays import aligned
from localllm.runtime.plan import Bound, Plan

PRECISIONS = ("normal", "high")
"""Of activations in products: codes of 8 bits; the same, of what they differ from the middle of their neighbours."""
_NOT_FINITE = 0x7C00
"""Exponent bits of an f16 that is infinite or NaN."""


class GroupSums:
    """Of the matrices of one network, each from when it is first asked for. counted: nothing is allocated."""

    def __init__(self, counted: bool = False) -> None:
        self._is_counted = counted
        self._sizes: dict[Weight, int] = {}
        self._arrays: dict[Weight, np.ndarray] = {}
        self._made: set[Weight] = set()
        self._lock = threading.Lock()

    def address(self, w: Weight) -> int:
        """f16 [n / 16, rounded up][k / 32][16], once `make` was called."""
        with self._lock:
            if w not in self._sizes:
                self._sizes[w] = -(-w.n // 16) * (w.k // quantize.MIDDLE) * 32
                if not self._is_counted:
                    self._arrays[w] = aligned(self._sizes[w])
        return 0 if self._is_counted else int(self._arrays[w].ctypes.data)

    @property
    def n_bytes(self) -> int:
        return sum(self._sizes.values())

    def make(self, run: Callable[[Bound, np.ndarray], None], progress: Callable[[int, int], None]) -> None:
        """Compute those that were asked for since. Raises UnsupportedError for sums that f16 cannot hold."""
        with self._lock:
            wanted = [w for w in self._arrays if w not in self._made]
            for i, w in enumerate(wanted):
                progress(i, len(wanted))
                plan, out = Plan("sums"), self._arrays[w]
                plan.op(
                    w.name, Key("middles", "sums", (w.module,)), middles.SumsParams, (w.k // quantize.MIDDLE, w.n),
                    w=w.address, row_bytes=w.row_bytes, n=w.n, k=w.k, out=int(out.ctypes.data),
                )  # fmt: skip
                run(plan.bind(0), np.zeros(1, np.int64))
                if ((out.view(np.uint16) & _NOT_FINITE) == _NOT_FINITE).any():
                    raise UnsupportedError(
                        f"{w.name}: 32 neighbours have a sum beyond 65504: --precision high cannot take it, normal can"
                    )
                self._made.add(w)
            if wanted:
                progress(len(wanted), len(wanted))

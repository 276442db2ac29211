"""A bit for each token: those that are not set get a logit of -inf, by a kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from localllm.kernels import mask
from localllm.kernels.objects import Key, load
from localllm.kernels.simd.types import Struct
from localllm.kernels.thread import Thread

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)


@cache
def _kernel() -> Callable[[int, int], None]:
    key = Key("mask", "logits")
    return _KERNEL(load([key])[key])


class TokenMask:
    """`n_words` words of 32 bits at `address` (`n_bytes` of them), of which the first n_vocab bits count.

    For one thread at a time. A mask of 150,000 tokens is applied in some ten microseconds.
    """

    def __init__(self, n_vocab: int, n_words: int) -> None:
        self.bits = np.zeros(n_words, np.uint32)
        self.address: int = self.bits.ctypes.data
        self.n_bytes = self.bits.nbytes
        self._counters = np.zeros(2, np.int64)
        """Of claimed work, and whether it is cancelled: never."""
        at = self._counters.ctypes.data
        self._thread = _block(Thread, nth=1, counter=at, cancel=at + 8)
        self._params = _block(mask.Params, n_bits=n_vocab, bits=self.address)
        self._n, self._logits = (mask.Params.offset(field) // 8 for field in ("n", "logits"))
        self._addresses = self._params.ctypes.data, self._thread.ctypes.data

    def apply(self, logits: NDArray[np.float32]) -> None:
        """logits: float32 [n], contiguous, in place; those past n_vocab, which no token has, get -inf, too."""
        if logits.dtype != np.float32 or logits.ndim != 1 or not logits.flags.c_contiguous:
            raise ValueError(f"logits must be contiguous float32 [n_vocab], not {logits.dtype} {logits.shape}")
        self._params[self._n], self._params[self._logits] = len(logits), logits.ctypes.data
        self._counters[0] = 0
        _kernel()(*self._addresses)


def _block(struct: Struct, **fields: int) -> NDArray[np.int64]:
    words = np.zeros(struct.size // 8, np.int64)
    for name, value in fields.items():
        words[struct.offset(name) // 8] = value
    return words

"""A bit for each token: those that are not set get a logit of -inf, by a kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localllm.generate.one_thread import OneThread, block
from localllm.kernels import mask
from localllm.kernels.objects import Key

KEY = Key("mask", "logits")
"""Compiled when it is first needed, unless it was loaded before."""


class TokenMask:
    """`n_words` words of 32 bits at `address` (`n_bytes` of them), of which the first n_vocab bits count.

    For one thread at a time. A mask of 150,000 tokens is applied in some ten microseconds.
    """

    def __init__(self, n_vocab: int, n_words: int) -> None:
        self.bits = np.zeros(n_words, np.uint32)
        self.address: int = self.bits.ctypes.data
        self.n_bytes = self.bits.nbytes
        self._thread = OneThread()
        self._params = block(mask.Params, n_bits=n_vocab, bits=self.address)
        self._n, self._logits = (mask.Params.offset(field) // 8 for field in ("n", "logits"))
        self._params_address = self._params.ctypes.data

    def apply(self, logits: NDArray[np.float32]) -> None:
        """logits: float32 [n], contiguous, in place; those past n_vocab, which no token has, get -inf, too."""
        if logits.dtype != np.float32 or logits.ndim != 1 or not logits.flags.c_contiguous:
            raise ValueError(f"logits must be contiguous float32 [n_vocab], not {logits.dtype} {logits.shape}")
        self._params[self._n], self._params[self._logits] = len(logits), logits.ctypes.data
        self._thread.run(KEY, self._params_address)

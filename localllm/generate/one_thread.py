"""Kernels that one thread calls by itself, beside the team that computes the model."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from localllm.kernels.objects import Key, load
from localllm.kernels.simd.types import Struct
from localllm.kernels.thread import Thread

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)


@cache
def _kernel(key: Key) -> Callable[[int, int], None]:
    return _KERNEL(load([key])[key])


class OneThread:
    """Runs kernels; for one thread at a time."""

    def __init__(self) -> None:
        self._counters = np.zeros(2, np.int64)
        """Of claimed work, and whether it is cancelled: never."""
        at = self._counters.ctypes.data
        self._thread = block(Thread, nth=1, counter=at, cancel=at + 8)
        self._address = self._thread.ctypes.data

    def run(self, key: Key, params: int) -> None:
        """params: address of the kernel's parameters. The kernel is compiled when it is first needed."""
        self._counters[0] = 0
        _kernel(key)(params, self._address)


def block(struct: Struct, **fields: int) -> NDArray[np.int64]:
    """The words of a struct, of which some fields are set."""
    words = np.zeros(struct.size // 8, np.int64)
    for name, value in fields.items():
        words[struct.offset(name) // 8] = value
    return words

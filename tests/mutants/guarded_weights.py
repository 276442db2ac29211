"""Weights whose matrices each end at a page that is not mapped: a kernel that reads on ends the process."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from localllm.model import model as loading
from localllm.model.weights import Weight, Weights

_PAGE = mmap.PAGESIZE
_RESERVED = 256 << 20
"""Bytes of addresses; of memory no more than the weights of one model."""
_ALIGNMENT = 8
"""Of data in a file, at least."""


class Region:
    """Addresses of which none can be read but those that `place` gave; used by one model at a time."""

    def __init__(self) -> None:
        self._c = ctypes.CDLL(None, use_errno=True)
        self._map = mmap.mmap(-1, _RESERVED)
        self._start = np.frombuffer(self._map, np.uint8).ctypes.data
        self._end = 0
        self.clear()

    def _protect(self, start: int, n: int, protection: int) -> None:
        if self._c.mprotect(ctypes.c_void_p(self._start + start), ctypes.c_size_t(n), protection):
            raise OSError(ctypes.get_errno(), "mprotect")

    def clear(self) -> None:
        """Give everything back; nothing can be read any more."""
        self._map.madvise(mmap.MADV_DONTNEED)
        self._protect(0, _RESERVED, 0)
        self._end = 0

    def place(self, raw: np.ndarray) -> int:
        """The address of a copy, which ends with the last page that can be read there."""
        n = -(-raw.nbytes // _ALIGNMENT) * _ALIGNMENT
        pages = -(-n // _PAGE) * _PAGE
        if self._end + pages + _PAGE > _RESERVED:
            raise MemoryError("the guarded region is too small")
        self._protect(self._end, pages, mmap.PROT_READ | mmap.PROT_WRITE)
        address = self._start + self._end + pages - n
        ctypes.memmove(address, raw.ctypes.data, raw.nbytes)
        self._protect(self._end, pages, mmap.PROT_READ)
        self._end += pages + _PAGE
        return address


class _GuardedWeights(Weights):
    region: Region

    def _matrix(self, name: str, shape: tuple[int, ...]) -> Weight:
        weight = super()._matrix(name, shape)
        return replace(weight, address=self.region.place(self._raw(self.file.tensors[name])))


@contextmanager
def guarded(region: Region) -> Iterator[None]:
    """Matrices of models that are loaded meanwhile lie in the region; it is cleared at the end."""
    _GuardedWeights.region = region
    try:
        with patch.object(loading, "Weights", _GuardedWeights):
            yield
    finally:
        region.clear()

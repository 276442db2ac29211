"""What is asked of a whole row of logits, by kernels where it is long: weights, moments, sums up to distances."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from localllm.generate.one_thread import OneThread, block
from localllm.kernels import sampling as kernels
from localllm.kernels.objects import Key
from localllm.kernels.simd.types import Struct

Floats = NDArray[np.float32]

FEW = 2048
"""Up to so many elements NumPy does it."""
_KEYS = {factory: Key("sampling", factory) for factory in ("weigh", "moments", "within", "collect")}
KEYS = list(_KEYS.values())
"""Compiled when a long row first needs one of them, unless they were loaded before."""


class Weighed(NamedTuple):
    """The softmax of a row, without its division."""

    weights: Floats
    """exp(logit - top), float32 [n]; of a long row valid until the same thread weighs the next one."""
    total: np.float32
    """Their sum; of few weights one after the other, as llama.cpp adds them."""
    top: np.float32
    """The greatest logit."""
    mean: float
    """The mean of logit - top, by the weights: the entropy is log(total) - mean."""


def weigh(logits: Floats) -> Weighed:
    """logits: float32 [n], not all of them -inf."""
    n = len(logits)
    if n <= FEW:
        top = logits.max()
        below = logits - top
        weights = np.exp(below)
        total = np.cumsum(weights)[-1]
        product = (weights * np.maximum(below, np.float32(-200.0))).sum(dtype=np.float64)
        return Weighed(weights, total, top, float(product / total))
    scratch, weights = _scratch, _scratch.row("weights", n)
    logits = np.ascontiguousarray(logits)
    scratch.run(
        "weigh",
        kernels.WeighParams,
        n=n,
        x=logits.ctypes.data,
        weights=weights.ctypes.data,
        sums=scratch.sums.ctypes.data,
    )
    top, total, product = scratch.sums[:3].tolist()
    return Weighed(weights, np.float32(total), np.float32(top), product / total)


def deviation(logits: Floats) -> np.float32:
    """The standard deviation of what is not -inf."""
    if len(logits) <= FEW:
        finite = logits[logits > -np.inf]
        return np.float32(np.sqrt(np.square(finite - finite.mean()).mean()))
    logits = np.ascontiguousarray(logits)
    _scratch.run("moments", kernels.MomentsParams, n=len(logits), x=logits.ctypes.data, sums=_scratch.sums.ctypes.data)
    count, _, squares = _scratch.sums[:3].tolist()
    return np.float32(np.sqrt(np.float32(squares / count)))


def distances(logits: Floats, center: np.float32) -> Floats:
    """|logit - center|: float32 [n]; of a long row valid until the same thread asks again."""
    out = _scratch.row("distances", len(logits)) if len(logits) > FEW else np.empty_like(logits)
    np.subtract(logits, center, out=out)
    np.abs(out, out=out)
    return out


def within(logits: Floats, weights: Floats, center: np.float32, limits: Floats) -> NDArray[np.float64]:
    """The sum of the weights of what lies nearer to the center than each limit. n >= 16; limits: float32 [16]."""
    _scratch.center[0] = center
    _scratch.limits[:] = limits
    _scratch.run(
        "within", kernels.WithinParams, n=len(logits), x=logits.ctypes.data, weights=weights.ctypes.data,
        center=_scratch.center.ctypes.data, limits=_scratch.limits.ctypes.data,
        sums=_scratch.sums.ctypes.data,
    )  # fmt: skip
    return _scratch.sums.copy()


def collect(
    logits: Floats, center: np.float32, low: np.float32, high: np.float32
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places, rising, of what lies nearer to the center than low, and of the rest of what lies nearer than high.

    n >= 16. Valid until the same thread collects again.
    """
    n = len(logits)
    near, between = _scratch.row("near", n, np.int64), _scratch.row("between", n, np.int64)
    _scratch.center[:] = center, low, high
    counts = _scratch.counts
    _scratch.run(
        "collect", kernels.CollectParams, n=n, x=logits.ctypes.data, center=_scratch.center.ctypes.data,
        near=near.ctypes.data, between=between.ctypes.data, counts=counts.ctypes.data,
    )  # fmt: skip
    return near[: counts[0]], between[: counts[1]]


class _Scratch(threading.local):
    """A thread's memory: rows that are used again and again, and what kernels are handed."""

    def __init__(self) -> None:
        self._rows: dict[str, NDArray[Any]] = {}
        self.sums, self.counts = np.zeros(16), np.zeros(2, np.int64)
        self.center, self.limits = np.zeros(3, np.float32), np.zeros(16, np.float32)
        self._thread = OneThread()

    def row(self, name: str, n: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        found = self._rows.get(name)
        if found is None or len(found) < n:
            found = self._rows[name] = np.empty(n, dtype)
        return found[:n]

    def run(self, factory: str, struct: Struct, **fields: int) -> None:
        params = block(struct, **fields)
        self._thread.run(_KEYS[factory], params.ctypes.data)


_scratch = _Scratch()

"""The encoder: float matrices to a format's blocks and back, on a team of threads."""

from __future__ import annotations

from typing import Self

import numpy as np

from localllm.errors import LocalllmError, UnsupportedError
from localllm.kernels import embed, rounding
from localllm.kernels.formats.table import Format
from localllm.kernels.objects import Key, Progress, load
from localllm.kernels.simd.types import Struct
from localllm.kernels.thread import Step
from localllm.runtime.arrays import aligned
from localllm.runtime.plan import Plan, Value
from localllm.runtime.processors import default_threads
from localllm.runtime.team import KEYS, Team

_GREATEST_HALF = 65504.0
"""Scales are binary16 numbers in most formats."""
_WIDE = ("F32", "BF16")


class Encoder:
    """Encodes and decodes whole matrices. Used as a context manager, or closed by hand; by one thread at a time."""

    def __init__(self, n_threads: int | None = None, progress: Progress | None = None) -> None:
        """progress(done, total) is called while kernels are compiled, which happens once a format."""
        self._progress = progress
        load(KEYS, progress)
        self._team = Team(n_threads or default_threads())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._team.close()

    def encode(self, format: Format, x: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
        """Blocks of a matrix: uint8 [n, row_bytes].

        x: float32 [n, k], k whole blocks of the format. importance: float32 [k], at least 0: weights of the squared
        errors of the columns, None for equal ones. The same bits come out for any number of threads.
        Raises LocalllmError where a value is not finite, or too great for the format; UnsupportedError for a format
        that cannot be written; ValueError for shapes that do not fit.
        """
        _check_supported(format)
        x = np.ascontiguousarray(x, np.float32)
        n, k = x.shape
        out = np.empty((n, format.row_bytes(k)), np.uint8)
        if not x.size:
            return out
        if importance is not None:
            importance = _checked_importance(importance, k)
        count = np.array([n], np.int64)
        greatest = np.zeros((-(-x.size // rounding.UNIT), 16), np.int32)
        self._run(
            Key("rounding", "rows", (format.module,)), rounding.Params, (n, k),
            n_rows_at=count.ctypes.data, k=k, x=x.ctypes.data,
            importance=0 if importance is None else importance.ctypes.data, out=out.ctypes.data,
            greatest=greatest.ctypes.data,
        )  # fmt: skip
        _check_values(format, x, float(greatest.max().view(np.float32)))
        return out

    def decode(self, format: Format, raw: np.ndarray, k: int) -> np.ndarray:
        """Elements of a matrix's blocks: float32 [n, k]. raw: uint8 [n, row_bytes]."""
        _check_supported(format)
        raw = np.ascontiguousarray(raw, np.uint8)
        if raw.ndim != 2 or raw.shape[1] != format.row_bytes(k):
            raise ValueError(f"{format.name} rows of {k} elements have {format.row_bytes(k)} bytes, not {raw.shape}")
        n = len(raw)
        out = np.empty((n, k), np.float32)
        if not out.size:
            return out
        step, tokens = aligned(Step.size).view(np.int64), np.arange(n, dtype=np.int32)
        step[Step.offset("n_rows") // 8], step[Step.offset("tokens") // 8] = n, tokens.ctypes.data
        self._run(
            Key("embed", "rows", (format.module,)), embed.Params, (n, k), step=step.ctypes.data,
            table=raw.ctypes.data, row_bytes=raw.shape[1], k=k, out=out.ctypes.data, factor=1.0,
        )  # fmt: skip
        return out

    def _run(self, key: Key, params: Struct, shape: tuple[int, ...], **values: Value) -> None:
        load([key], self._progress)
        plan = Plan(str(key))
        plan.op(str(key), key, params, shape, **values)
        self._team.run(plan.bind(0), np.zeros(1, np.int64))


def _check_supported(format: Format) -> None:
    if not format.supported:
        raise UnsupportedError(f"{format.name}: tensors of this format can be neither read nor written")


def _check_values(format: Format, x: np.ndarray, greatest: float) -> None:
    if not np.isfinite(greatest):
        bad = int(np.count_nonzero(~np.isfinite(x)))
        raise LocalllmError(f"{bad} of {x.size} values are not finite: they cannot be written as {format.name}")
    if format.name not in _WIDE and greatest > _GREATEST_HALF:
        raise LocalllmError(
            f"a value of {greatest:.6g} is too great for {format.name} (at most {_GREATEST_HALF:.0f}): "
            "write the tensor as BF16 or F32"
        )


def _checked_importance(importance: np.ndarray, k: int) -> np.ndarray:
    """float32 [k], the greatest 1."""
    importance = np.ascontiguousarray(importance, np.float32)
    if importance.shape != (k,):
        raise ValueError(f"importance of a matrix of {k} columns has shape {importance.shape}")
    least, greatest = float(importance.min()), float(importance.max())
    if not (least >= 0 and np.isfinite(greatest)):
        raise LocalllmError(f"importance has values from {least} to {greatest}, must be finite and at least 0")
    return importance / np.float32(greatest) if greatest > 0 else importance

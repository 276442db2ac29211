"""Rounding with error feedback: each column takes up the errors of those before it, weighed by the Hessian.

GPTQ (arXiv 2210.17323) in the form of QuIP (arXiv 2307.13304), which is equivalent and needs no inverse: with
H = (U + I) D (U + I)ᵀ, U strictly upper triangular, column j is rounded to the value nearest to w_j + Σ e_i U_ij, where
e_i are the errors of the columns i before it; the output's error tr(e H eᵀ) is then the sum of D_j times the squares of
what rounding changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.errors import FormatError
from localllm.kernels.formats.table import Format
from localllm.quantize.encode import Encoder
from localllm.quantize.grid import GRIDS, Grid
from localllm.quantize.source import Source

_CHUNK, _PIECE = 256, 32
"""Columns whose corrections are products of matrices: of all columns before a chunk, and of those of a block before a
piece. Blocks divide chunks."""
SHRINKAGE = 0.25
"""Part of the Hessian's elements off the diagonal that is taken away: they are estimated from a text, and another text
has others. 1 would be rounding by importance. Chosen by measurement: docs/quantization.md."""
_DAMPING = 0.01
"""Added to the diagonal, relative to its mean, so that inputs which hardly occur do not let errors grow."""


@dataclass(frozen=True)
class Factor:
    """A factorized Hessian. `order`: columns in the order in which they are rounded; `upper` [k, k] is U and `diagonal`
    [k] is D above, float32, in that order."""

    order: np.ndarray
    upper: np.ndarray
    diagonal: np.ndarray


def factorize(hessian: np.ndarray, block: int) -> Factor:
    """hessian: float32 [k, k], symmetric. block: columns whose scales are chosen together.

    Columns with large inputs come first, while others are left that can take up their errors: whole blocks by the sum
    of their inputs' squares, and columns likewise within a block. Raises FormatError for a matrix that cannot be a mean
    of x xᵀ.
    """
    k = len(hessian)
    diagonal = np.diag(hessian).astype(np.float64)
    mean = float(diagonal.mean()) or 1.0
    by_block = diagonal.reshape(-1, block)
    blocks = np.argsort(-by_block.sum(axis=1), kind="stable")
    inside = np.argsort(-by_block, axis=1, kind="stable")
    order = (block * blocks[:, None] + inside[blocks]).ravel()
    last_first = order[::-1]
    h = hessian[np.ix_(last_first, last_first)].astype(np.float64)
    h *= 1 - SHRINKAGE
    h[np.arange(k), np.arange(k)] = diagonal[last_first] + _DAMPING * mean
    try:
        root = np.linalg.cholesky(h)[::-1, ::-1]
    except np.linalg.LinAlgError:
        raise FormatError("its second moments are not those of any inputs: the file of Hessians is damaged") from None
    del h
    scale = np.diag(root).copy()
    upper = np.divide(root, scale, out=np.empty((k, k), np.float32), casting="same_kind")
    return Factor(order, upper, np.square(scale).astype(np.float32))


def corrected(format: Format, x: np.ndarray, factor: Factor, encoder: Encoder) -> np.ndarray:
    """Blocks of a matrix whose output has a small error: uint8 [n, row_bytes].

    x: float32 [n, k]. Scales of a block are chosen for its columns as they are corrected by then, with the diagonal as
    importance; after that codes are chosen column by column, where the format has a grid. Formats without one feed
    errors from block to block.
    """
    n, k = x.shape
    block = format.block
    raw = np.empty((k // block, n, format.bytes), np.uint8)
    weights = np.ascontiguousarray(x.T[factor.order])
    errors = np.zeros_like(weights)
    grid = GRIDS.get(format.name)
    for chunk in range(0, k, _CHUNK):
        end = min(chunk + _CHUNK, k)
        target = weights[chunk:end] + factor.upper[:chunk, chunk:end].T @ errors[:chunk]
        for first in range(chunk, end, block):
            last = first + block
            mine = target[first - chunk : last - chunk] + factor.upper[chunk:first, first:last].T @ errors[chunk:first]
            columns = factor.order[first:last]
            number, inside = int(columns[0]) // block, columns % block
            natural, importance = np.empty((n, block), np.float32), np.empty(block, np.float32)
            natural[:, inside], importance[inside] = mine.T, factor.diagonal[first:last]
            encoded = encoder.encode(format, natural, importance)
            if grid is None:
                values = encoder.decode(format, encoded, block).T[inside]
            else:
                a, b = (line.T[inside] for line in grid.lines(format, encoded, encoder.decode))
                levels = _round(grid, a, b, mine, weights[first:last], factor.upper[first:last, first:last])
                values = a + b * levels
                in_order = np.empty((n, block), np.float32)
                in_order[:, inside] = levels.T
                encoded = grid.pack(format, encoded, in_order)
            errors[first:last] = weights[first:last] - values
            raw[number] = encoded
    return np.ascontiguousarray(raw.transpose(1, 0, 2)).reshape(n, -1)


def _round(
    grid: Grid, a: np.ndarray, b: np.ndarray, target: np.ndarray, weights: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """Levels of a block's columns, one after another: float32 [block, n].

    a, b: of each element; target: weights with the corrections of what came before the block; all float32 [block, n].
    upper: of the block, [block, block].
    """
    inverse = np.divide(1, b, out=np.zeros_like(b), where=b != 0)
    levels, errors = np.empty_like(target), np.zeros_like(target)
    for start in range(0, len(target), _PIECE):
        end = min(start + _PIECE, len(target))
        piece = target[start:end] + upper[:start, start:end].T @ errors[:start]
        for i in range(start, end):
            w = piece[i - start] + upper[start:i, i] @ errors[start:i]
            levels[i] = grid.nearest((w - a[i]) * inverse[i])
            errors[i] = weights[i] - (a[i] + b[i] * levels[i])
    return levels


def output_error(difference: np.ndarray, hessian: np.ndarray) -> float:
    """tr(ΔW H ΔWᵀ): mean squared errors of a matrix's output, summed over its rows. difference: ΔW, float32 [n, k]."""
    return float(np.einsum("ij,ij->", difference @ hessian, difference, dtype=np.float64))


def sampled_rows(source: Source, name: str, n_rows: int, n: int) -> np.ndarray:
    """At most n of a tensor's first n_rows rows, evenly spread, whose errors stand for all: float32 [<= n, k]."""
    rows = np.unique(np.linspace(0, n_rows - 1, n).astype(np.int64))
    return np.concatenate([source.rows(name, int(i), int(i) + 1) for i in rows])

"""Matrices packed as GPTQ, AWQ and compressed-tensors do it, one code after another: slow and obvious twins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass
class Grid:
    """codes [n, k], scales float16 or float32 [n, groups], zeros [n, groups], columns [k]: the group of each column."""

    bits: int
    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    columns: np.ndarray

    def values(self) -> np.ndarray:
        """float64 [n, k]."""
        scales, zeros = (x.astype(np.float64)[:, self.columns] for x in (self.scales, self.zeros))
        return scales * (self.codes - zeros)


def random_grid(
    n: int, k: int, group: int, bits: int = 4, symmetric: bool = True, act_order: bool = False, seed: int = 0
) -> Grid:
    rng = np.random.default_rng(seed)
    group = k if group == -1 else group
    groups = -(-k // group)
    half = 1 << (bits - 1)
    columns = np.arange(k) // group
    if act_order:
        columns = rng.permutation(columns)
    zeros = np.full((n, groups), half) if symmetric else rng.integers(1, 2 * half, (n, groups))
    scales = (rng.uniform(0.5, 2.0, (n, groups)) * 0.01).astype(np.float16)
    return Grid(bits, rng.integers(0, 2 * half, (n, k)), scales, zeros, columns)


def words_down(codes: np.ndarray, bits: int) -> np.ndarray:
    """int32 [rows * bits / 32, columns]: codes of rows that follow each other share a word."""
    per_word = 32 // bits
    rows, columns = codes.shape
    words = np.zeros((-(-rows // per_word), columns), np.uint32)
    for i in range(rows):
        words[i // per_word] |= codes[i].astype(np.uint32) << np.uint32(bits * (i % per_word))
    return words.view(np.int32)


def words_across(codes: np.ndarray, bits: int, order: tuple[int, ...] | None = None) -> np.ndarray:
    """int32 [rows, columns * bits / 32]: place i of a word has the code of column order[i] of its eight, or i."""
    per_word = 32 // bits
    rows, columns = codes.shape
    words = np.zeros((rows, -(-columns // per_word)), np.uint32)
    for first in range(0, columns, per_word):
        for i in range(per_word):
            column = first + (order[i] if order else i)
            if column < columns:
                words[:, first // per_word] |= codes[:, column].astype(np.uint32) << np.uint32(bits * i)
    return words.view(np.int32)


def gptq(grid: Grid, version: int = 1) -> dict[str, np.ndarray]:
    """qweight, qzeros, scales and g_idx; version 1 stores zero points less 1."""
    return {
        "qweight": words_down(grid.codes.T, grid.bits),
        "qzeros": words_across(grid.zeros.T - (version == 1), grid.bits),
        "scales": np.ascontiguousarray(grid.scales.T),
        "g_idx": grid.columns.astype(np.int32),
    }


def awq_gemm(grid: Grid) -> dict[str, np.ndarray]:
    return {
        "qweight": words_across(grid.codes.T, 4, AWQ_ORDER),
        "qzeros": words_across(grid.zeros.T, 4, AWQ_ORDER),
        "scales": np.ascontiguousarray(grid.scales.T),
    }


def awq_gemv(grid: Grid) -> dict[str, np.ndarray]:
    """Zero points and scales are padded to words of eight groups, and more."""
    zeros = words_across(grid.zeros, 4)
    zeros = np.pad(zeros, [(0, 0), (0, 3)])
    scales = np.zeros((len(zeros), zeros.shape[1] * 8), np.float16)
    scales[:, : grid.scales.shape[1]] = grid.scales
    return {"qweight": words_across(grid.codes, 4), "qzeros": zeros, "scales": scales}


def compressed(grid: Grid, zeros: str = "") -> dict[str, np.ndarray]:
    """pack-quantized. zeros: "" for none, "int8", "packed"."""
    found = {
        "weight_packed": words_across(grid.codes, grid.bits),
        "weight_scale": grid.scales,
        "weight_shape": np.array(grid.codes.shape, np.int64),
    }
    if zeros == "int8":
        found["weight_zero_point"] = (grid.zeros - (1 << (grid.bits - 1))).astype(np.int8)
    elif zeros == "packed":
        found["weight_zero_point"] = words_down(grid.zeros, grid.bits)
    return found


def plain_int8(grid: Grid) -> dict[str, np.ndarray]:
    """int-quantized: the codes as they are."""
    found = {"weight": (grid.codes - 128).astype(np.int8), "weight_scale": grid.scales}
    if (grid.zeros != 128).any():
        found["weight_zero_point"] = (grid.zeros - 128).astype(np.int8)
    return found

"""What roundings are judged by: matrices from seeds, and the weighted squared errors that llama.cpp aims at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FIGURES = Path(__file__).with_name("rounding_figures.json")
"""Errors of llama.cpp's blocks, by record_rounding: {"FORMAT kind": [with its own weights, by importance alone]}."""
KINDS = ("gaussian", "heavy", "outliers")
N_ROWS, K = 24, 768


def matrix(kind: str) -> np.ndarray:
    """float32 [N_ROWS, K]."""
    z = np.random.default_rng(KINDS.index(kind)).standard_normal((N_ROWS, K))
    if kind == "heavy":
        z = z**3
    if kind == "outliers":
        z[:, [5, 400]] *= 12
    return (0.05 * z).astype(np.float32)


def importances() -> np.ndarray:
    """float32 [K]: a few columns count for most, as in real activations."""
    return np.exp(1.2 * np.random.default_rng(9).standard_normal(K)).astype(np.float32)


def cases() -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    for kind in KINDS:
        yield kind, matrix(kind), None
        yield f"{kind} weighted", matrix(kind), importances()


def means(x: np.ndarray, n: int) -> np.ndarray:
    """Of the squares of each run of n elements, in the shape of x."""
    squares = np.square(x, dtype=np.float64).reshape(len(x), -1, n)
    return np.broadcast_to(squares.mean(2, keepdims=True), squares.shape).reshape(x.shape)


RECORDED = (
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "IQ1_M",
    "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "Q1_0", "Q2_0",
)  # fmt: skip
"""Formats that have figures."""

SIGMAS = {
    "Q8_0": (1, K), "Q4_0": (1, K), "Q4_1": (1, K), "Q5_0": (1, K), "Q5_1": (1, K), "Q2_K": (1, 256),
    "IQ2_XXS": (1, 256), "IQ2_XS": (1, 256), "IQ4_NL": (2, 32),
}  # fmt: skip
"""Factor and run of the mean under the root; (2, 256) for others."""


def weights(name: str, x: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """What ggml-quants.c weighs squared errors by, for a format; without importance, where it weighs IQ formats by the
    squares of elements, equal weights all the same: see kernels/encoders."""
    squares = np.square(x, dtype=np.float64)
    if importance is not None:
        factor, run = SIGMAS.get(name, (2, 256))
        run = x.shape[1] if run == K else run
        return importance * (1 if name == "Q6_K" else np.sqrt(factor * means(x, run) + squares))
    if name in ("Q4_K", "Q5_K"):
        return np.abs(x) + np.sqrt(means(x, 32))
    if name == "Q2_K":
        return np.abs(x)
    return squares if name in ("Q3_K", "Q6_K") else np.ones_like(squares)


def errors(name: str, x: np.ndarray, decoded: np.ndarray, importance: np.ndarray | None) -> list[float]:
    """Two sums of weighted squared errors."""
    squares = np.square(decoded - x.astype(np.float64))
    plain = 1.0 if importance is None else importance
    return [float((squares * weights(name, x, importance)).sum()), float((squares * plain).sum())]


def figures() -> dict[str, list[float]]:
    return json.loads(FIGURES.read_text())

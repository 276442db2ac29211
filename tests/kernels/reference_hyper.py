"""Twins of kernels.hyper, in float64."""

from __future__ import annotations

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def weights(
    mixes: np.ndarray, scale: np.ndarray, base: np.ndarray, eps: float, n_iter: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mixes [n_rows, (2 + h) * h], scale [3], base like a row: weights of the sum [n_rows, h], of the result
    [n_rows, h], of each stream in each [n_rows, h from, h to]."""
    h = round((1 + mixes.shape[1]) ** 0.5) - 1
    pre, post, comb = np.split(mixes.astype(np.float64), (h, 2 * h), axis=1)
    of_pre, of_post, of_comb = np.split(base.astype(np.float64), (h, 2 * h))
    pre = sigmoid(pre * scale[0] + of_pre) + eps
    post = 2 * sigmoid(post * scale[1] + of_post)
    comb = (comb * scale[2] + of_comb).reshape(-1, h, h)
    comb = np.exp(comb - comb.max(2, keepdims=True))
    comb = comb / comb.sum(2, keepdims=True) + eps
    comb = comb / (comb.sum(1, keepdims=True) + eps)
    for _ in range(n_iter - 1):
        comb = comb / (comb.sum(2, keepdims=True) + eps)
        comb = comb / (comb.sum(1, keepdims=True) + eps)
    return pre, post, comb


def reduce(x: np.ndarray, pre: np.ndarray) -> np.ndarray:
    """x [n_rows, h, n], pre [n_rows, h]: [n_rows, n]."""
    return np.einsum("rhn,rh->rn", x.astype(np.float64), pre)


def mix(x: np.ndarray, y: np.ndarray, post: np.ndarray, comb: np.ndarray) -> np.ndarray:
    """The streams [n_rows, h, n] after a block whose result is y [n_rows, n]."""
    return np.einsum("rft,rfn->rtn", comb, x.astype(np.float64)) + post[:, :, None] * y[:, None]

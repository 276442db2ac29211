"""AltUp and the Gaussian top-k by NumPy, float64; streams are [N, n_rows, n]."""

import numpy as np

from tests.reference import gelu


def magnitude(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x * x).sum(-1, keepdims=True))


def as_large(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """y with the magnitude of x; zeros stay."""
    own = magnitude(y)
    return y * np.divide(magnitude(x), own, out=np.zeros_like(own), where=own != 0)


def start(x: np.ndarray, projected: np.ndarray) -> np.ndarray:
    return np.concatenate([x[None], as_large(x, projected)])


def normed(x: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def route(x: np.ndarray, router: np.ndarray, eps: float, weights: np.ndarray, plus: float) -> np.ndarray:
    """x [n_rows, n], router [N, n], weights [N, n_out]."""
    return np.tanh(normed(x, eps) @ router.T) @ weights + plus


def predict(streams: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """mixture [n_rows, N, N]."""
    return streams + np.einsum("tba,atn->btn", mixture, streams)


def correct(predictions: np.ndarray, x: np.ndarray, gains: np.ndarray, active: int) -> np.ndarray:
    """gains [n_rows, N]."""
    return predictions + gains.T[:, :, None] * (x - predictions[active])


def end(streams: np.ndarray, others: np.ndarray, active: int) -> np.ndarray:
    return (streams[0] + as_large(streams[active], others).sum(0)) / len(streams)


def sparse(gate: np.ndarray, up: np.ndarray, deviations: float) -> np.ndarray:
    cutoff = gate.mean(-1, keepdims=True) + deviations * gate.std(-1, keepdims=True, ddof=1)
    return gelu(np.maximum(gate - cutoff, 0)) * up

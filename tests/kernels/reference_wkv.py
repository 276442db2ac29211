"""Twins of RWKV's kernels in float64: one sequence, one head at a time."""

from __future__ import annotations

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def shifted(x: np.ndarray, before: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """x [t, n], the row before them [n], factors [..., n] or [..., t, n]: rows mixed with those before them."""
    earlier = np.concatenate([before[None], x[:-1]])
    return x + (earlier - x) * factors


def normed(y: np.ndarray, w: np.ndarray, b: np.ndarray, eps: float) -> np.ndarray:
    """LayerNorm of a head, y [n]."""
    y = y - y.mean()
    return y / np.sqrt((y * y).mean() + eps) * w + b


def bonus6(r, k, v, w, gate, state, first, ln_w, ln_b, eps) -> tuple[np.ndarray, np.ndarray]:
    """Rows [t, n] of one head, state [n, n]: rows [t, n], and the states after each row [t + 1, n, n]."""
    rows, states = [], [state]
    for t in range(len(r)):
        kv = np.outer(k[t], v[t])
        y = r[t] @ (states[-1] + first[:, None] * kv)
        rows.append(normed(y, ln_w, ln_b, eps) * gate[t] * sigmoid(gate[t]))
        states.append(np.exp(-np.exp(w[t]))[:, None] * states[-1] + kv)
    return np.stack(rows), np.stack(states)


def gated6(r, k, v, w, gate, state, scale) -> tuple[np.ndarray, np.ndarray]:
    rows, states = [], [state]
    for t in range(len(r)):
        decay = np.exp(-np.exp(w[t]))
        states.append(decay[:, None] * states[-1] + np.outer(k[t] * (1 - decay), v[t]))
        rows.append(r[t] @ states[-1] * scale * sigmoid(gate[t]))
    return np.stack(rows), np.stack(states)


def seven(r, k, v, w, a, gate, state, v_first, v_mix, k_k, k_a, r_k, ln_w, ln_b, eps) -> tuple[np.ndarray, np.ndarray]:
    """gate, v_first, ln_w: or None."""
    rows, states = [], [state]
    for t in range(len(r)):
        decay, rate = np.exp(-0.606531 * sigmoid(w[t])), sigmoid(a[t])
        value = v[t] if v_first is None else v[t] + (v_first[t] - v[t]) * sigmoid(v_mix[t])
        removed = k[t] * k_k
        removed = removed / max(np.sqrt((removed * removed).sum()), 1e-12)
        key = k[t] * (1 + (rate - 1) * k_a)
        old = states[-1]
        change = np.outer(removed * rate, removed @ old)
        states.append(decay[:, None] * old - change + np.outer(key, value))
        y = r[t] @ states[-1]
        y = (y if ln_w is None else normed(y, ln_w, ln_b, eps)) + (r[t] * key * r_k).sum() * value
        rows.append(y if gate is None else y * gate[t])
    return np.stack(rows), np.stack(states)

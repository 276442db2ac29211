"""The gated delta rule, token by token, in float64."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def decay(kind, x, a, dt, bound):
    """e**g of rows x [n_rows, n]."""
    y = x.astype(np.float64) + dt
    return np.exp(a * np.logaddexp(0, y) if kind == "softplus" else bound * sigmoid(a * y))


def scan(state, q, k, v, decays, beta, scale):
    """One head: state [k_dim, n], q and k [n_rows, k_dim], v [n_rows, n], decays [n_rows, 1 or k_dim], beta [n_rows].
    Results [n_rows, n], and the state before each row and after the last."""
    state, out, states = state.astype(np.float64), [], []
    for q_t, k_t, v_t, decay_t, beta_t in zip(q, k, v, decays, beta, strict=True):
        states.append(state)
        state = state * decay_t[:, None].astype(np.float64)
        state = state + np.outer(k_t, beta_t * (v_t - k_t.astype(np.float64) @ state))
        out.append(scale * (q_t.astype(np.float64) @ state))
    return np.array(out), [*states, state]

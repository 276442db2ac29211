"""Lightning attention against float64: runs of several sequences, states before and after, the mark, cuts."""

import numpy as np
import pytest

from localllm.kernels.lightning import state_floats
from tests.kernels import harness
from tests.kernels.test_conv import normal

ROWS_OF = [[0, 3, 4, 6, 7, 9, 10, 12, 13, 14], [1, 2, 8, 11], [5]]
N_ROWS, N_SLOTS = 15, 6


def twin(qkv, decay, state):
    """qkv [t, n_head, 3, dim], decay [n_head], state [n_head, dim, dim]: results [t, n_head, dim], states [t + 1]."""
    out, states = [], [state]
    for token in qkv:
        q, k, v = token.transpose(1, 0, 2)
        states.append(decay[:, None, None] * states[-1] + k[:, :, None] * v[:, None, :])
        out.append(np.einsum("hi,hij->hj", q, states[-1]))
    return np.stack(out), states


def from_slot(slot, n_head, dim):
    """[n_head, dim, dim] of a slot's columns."""
    blocks = slot.reshape(n_head, -1, dim, 16)
    return blocks.transpose(0, 2, 1, 3).reshape(n_head, dim, -1)[:, :, :dim]


def to_slot(state):
    n_head, dim, _ = state.shape
    wide = np.zeros((n_head, dim, -(-dim // 16) * 16), np.float32)
    wide[:, :, :dim] = state
    return wide.reshape(n_head, dim, -1, 16).transpose(0, 2, 1, 3).ravel()


def run(qkv, decay, state, rows_of, runs):
    n_rows, n_head, _, dim = qkv.shape
    out = harness.buffer((n_rows, n_head, dim))
    step, keep = harness.step_of_runs(rows_of, runs)
    harness.run(
        "lightning.scan", step=step, qkv=qkv, stride=12 * n_head * dim, n_head=n_head, dim=dim, decay=decay,
        state=state, state_stride=state.strides[0], out=out,
    )  # fmt: skip
    assert keep
    return out


@pytest.mark.parametrize("dim", [1, 16, 40, 128])
@pytest.mark.parametrize("factors", [(0.9, 0.5, 0.999), (0.0, 1.0, 1e-6)])
def test_runs_of_three_sequences(dim, factors):
    """Interleaved rows; one sequence begins, one goes on from a slot, one has a single row."""
    rng = np.random.default_rng(dim)
    n_head = len(factors)
    runs = [
        {"source": -1, "target": 0, "mark": 9, "mark_slot": 4},
        {"source": 3, "target": 1, "mark": 2, "mark_slot": 5},
        {"source": 3, "target": 2},
    ]
    qkv, decay = normal(rng, N_ROWS, n_head, 3, dim), harness.placed(np.array(factors, np.float32))
    state = harness.buffer((N_SLOTS, state_floats(n_head, dim)))
    state[3] = to_slot(rng.standard_normal((n_head, dim, dim)).astype(np.float32))
    before = state.copy()
    out = run(qkv, decay, state, ROWS_OF, runs)
    for rows, one in zip(ROWS_OF, runs, strict=True):
        old = from_slot(before[3], n_head, dim).astype(np.float64) * (one["source"] >= 0)
        exact, states = twin(qkv[rows].astype(np.float64), decay.astype(np.float64), old)
        near = {"rtol": 1e-5, "atol": 2e-5 * np.sqrt(dim)}
        np.testing.assert_allclose(out[rows], exact, **near)
        np.testing.assert_allclose(from_slot(state[one["target"]], n_head, dim), states[-1], **near)
        if "mark" in one:
            np.testing.assert_allclose(from_slot(state[one["mark_slot"]], n_head, dim), states[one["mark"]], **near)
    assert np.array_equal(state[3], before[3])
    assert (harness.margin(out) == 0xA5).all()


def test_zeros_stay_zeros():
    state = harness.buffer((1, state_floats(2, 32)))
    qkv, decay = harness.placed(np.zeros((3, 2, 3, 32), np.float32)), harness.placed(np.ones(2, np.float32))
    assert not run(qkv, decay, state, [[0, 1, 2]], [{"source": -1, "target": 0}]).any()
    assert not state.any()


def test_a_sequence_cut_in_pieces_gives_the_same_bits():
    rng = np.random.default_rng(1)
    n_head, dim = 2, 24
    qkv, decay = normal(rng, 13, n_head, 3, dim), harness.placed(np.array([0.9, 0.99], np.float32))
    results = []
    for pieces in ((13,), (1,) * 13, (2, 5, 6)):
        state, outs, source, first = harness.buffer((2, state_floats(n_head, dim))), [], -1, 0
        for size in pieces:
            target = 1 - max(source, 0)
            part = harness.placed(qkv[first : first + size])
            outs.append(run(part, decay, state, [list(range(size))], [{"source": source, "target": target}]).copy())
            source, first = target, first + size
        results.append((np.concatenate(outs), from_slot(state[source], n_head, dim).copy()))
    for out, state in results[1:]:
        assert np.array_equal(out, results[0][0])
        assert np.array_equal(state, results[0][1])

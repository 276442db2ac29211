"""Convolutions along sequences against float64: runs of several sequences, states before and after, the mark."""

import numpy as np
import pytest

from tests.kernels import harness

N_SLOTS = 5


def twin(x, w, bias, tail):
    """Rows [t, n], w [width, n], the inputs before them [width - 1, n]: results [t, n], and all inputs."""
    inputs = np.concatenate([tail, x])
    out = np.stack([(w * inputs[t : t + len(w)]).sum(0) for t in range(len(x))])
    return out + (0 if bias is None else bias), inputs


def normal(rng, *shape):
    return harness.placed(rng.standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("n", [3, 16, 77, 192])
@pytest.mark.parametrize("width", [2, 3, 4, 9])
@pytest.mark.parametrize("kind", ["plain", "silu", "gated"])
def test_runs_of_three_sequences(kind, width, n):
    """Interleaved rows; one sequence begins, one goes on from a slot, one has a single row."""
    rng = np.random.default_rng(n + width)
    rows_of = [[0, 3, 4, 6, 7], [1, 2, 8], [5]]
    runs = [
        {"source": -1, "target": 0, "mark": 4, "mark_slot": 4},
        {"source": 3, "target": 1, "mark": 2, "mark_slot": -1},
        {"source": 3, "target": 2},
    ]
    x, gate_in, gate_out = (normal(rng, 9, n) for _ in range(3))
    w, bias = normal(rng, width, n), normal(rng, n) if kind == "silu" else None
    state = harness.buffer((N_SLOTS, width - 1, n))
    state[3] = rng.standard_normal((width - 1, n))
    before, out = state.copy(), harness.buffer((9, n))
    step, keep = harness.step_of_runs(rows_of, runs)
    harness.run(
        "conv.rows", kind, step=step, x=x, gate_in=gate_in, gate_out=gate_out, x_stride=4 * n, n=n, w=w, width=width,
        bias=0 if bias is None else bias, state=state, state_stride=4 * n * (width - 1), out=out,
    )  # fmt: skip
    assert keep
    for rows, run in zip(rows_of, runs, strict=True):
        tail = np.zeros((width - 1, n)) if run["source"] < 0 else before[run["source"]].astype(np.float64)
        made = x[rows].astype(np.float64) * (gate_in[rows] if kind == "gated" else 1)
        exact, inputs = twin(made, w.astype(np.float64), bias, tail)
        if kind == "silu":
            exact = exact / (1 + np.exp(-exact))
        if kind == "gated":
            exact = exact * gate_out[rows]
        np.testing.assert_allclose(out[rows], exact, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(state[run["target"]], inputs[len(inputs) - width + 1 :], rtol=1e-6)
        if run.get("mark_slot", -1) >= 0:
            np.testing.assert_allclose(state[run["mark_slot"]], inputs[run["mark"] :][: width - 1], rtol=1e-6)
    assert np.array_equal(state[3], before[3])
    assert (harness.margin(out) == 0xA5).all()


def test_a_sequence_cut_in_pieces_gives_the_same_bits():
    rng = np.random.default_rng(1)
    n, width, count = 40, 4, 13
    x, w, bias = normal(rng, count, n), normal(rng, width, n), normal(rng, n)
    results = []
    for pieces in ((13,), (1,) * 13, (2, 5, 6)):
        state, outs, source, first = harness.buffer((2, width - 1, n)), [], -1, 0
        for size in pieces:
            step, keep = harness.step_of_runs([list(range(size))], [{"source": source, "target": 1 - max(source, 0)}])
            out, part = harness.buffer((size, n)), harness.placed(x[first : first + size])
            harness.run(
                "conv.rows", "silu", step=step, x=part, x_stride=4 * n, n=n, w=w, width=width, bias=bias, state=state,
                state_stride=4 * n * (width - 1), out=out,
            )  # fmt: skip
            assert keep
            outs.append(out.copy())
            source, first = 1 - max(source, 0), first + size
        results.append((np.concatenate(outs), state[source].copy()))
    for out, state in results[1:]:
        assert np.array_equal(out, results[0][0])
        assert np.array_equal(state, results[0][1])

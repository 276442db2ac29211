"""Selective scans against float64: runs of several sequences, states before and after, the mark."""

import numpy as np
import pytest

from localllm.kernels import ssm
from tests import reference
from tests.kernels import harness

N_SLOTS = 5
ROWS_OF = [[0, 3, 4, 6, 7], [1, 2, 8], [5]]
RUNS = [
    {"source": -1, "target": 0, "mark": 4, "mark_slot": 4},
    {"source": 3, "target": 1, "mark": 2, "mark_slot": -1},
    {"source": 3, "target": 2, "mark": 0, "mark_slot": -1},
]


def normal(rng, *shape, scale=1.0):
    return harness.placed((scale * rng.standard_normal(shape)).astype(np.float32))


class Case:
    """A scan of n_rows rows; a Mamba-2 head's channels share a decay and a step, Mamba's have their own."""

    def __init__(self, decay, n_head, head_dim, n_group, d_state, *, n_rows, seed=0, dt_scale=1.0, slack=3):
        rng = np.random.default_rng(seed)
        self.decay, self.n_head, self.head_dim, self.n_group, self.d_state = decay, n_head, head_dim, n_group, d_state
        self.n_rows, self.n = n_rows, n_head * head_dim
        self.x, self.z = normal(rng, n_rows, self.n + slack), normal(rng, n_rows, self.n + 2 * slack)
        self.bc = normal(rng, n_rows, 2 * n_group * d_state + slack)
        self.dt = normal(rng, n_rows, (n_head if decay == "head" else self.n) + slack, scale=dt_scale)
        self.bias = normal(rng, n_head)
        self.a = -np.abs(normal(rng, n_head if decay == "head" else self.n, d_state if decay == "channel" else 1))
        self.d = normal(rng, self.n)
        self.blocks = -(-head_dim // 16)
        rows = ssm.state_rows(decay, d_state)
        self.state = harness.buffer((N_SLOTS, n_head, self.blocks, rows, 16))
        start = np.zeros((n_head, self.blocks * 16, rows), np.float32)
        start[:, :head_dim] = rng.standard_normal((n_head, head_dim, rows))
        start[:, :, d_state:] = 1.0
        self.state[3] = start.reshape(n_head, self.blocks, 16, rows).transpose(0, 1, 3, 2)
        self.state[3, -1, :, d_state:] = 0.125  # the scale of a head, where there is one

    def channels_of(self, slot):
        """A slot's state, [channels, d_state]."""
        wide = slot.transpose(0, 1, 3, 2).reshape(self.n_head, -1, slot.shape[-2])[:, : self.head_dim]
        scale = wide[:, :, self.d_state :].prod(-1, keepdims=True)
        return (wide[:, :, : self.d_state] * scale).reshape(self.n, -1)

    def fields(self, step, rows=slice(None)):
        """Of a scan of some rows, and what must be kept alive; results go to `out`."""
        x, z, bc, dt = (harness.placed(v[rows]) for v in (self.x, self.z, self.bc, self.dt))
        self.out = harness.buffer((len(x), self.n))
        dt_stride = dt.strides[0]
        a: np.ndarray | int
        if self.decay == "head":
            made, a = harness.buffer((len(x), 2, self.n_head)), harness.placed(self.a[:, 0])
            harness.run(
                "ssm.steps", n_rows_at=np.array([len(x)]), n=self.n_head, dt=dt, stride=dt_stride, bias=self.bias, a=a,
                out=made,
            )  # fmt: skip
            dt, a, dt_stride = made, 0, made.strides[0]
        else:
            padded = np.zeros((self.blocks * 16, self.d_state), np.float32)
            padded[: self.n] = self.a / np.log(2)
            a = harness.placed(padded.reshape(self.blocks, 16, self.d_state).transpose(0, 2, 1))
        return {
            "step": step, "n_head": self.n_head, "head_dim": self.head_dim, "n_group": self.n_group,
            "d_state": self.d_state, "x": x, "x_stride": x.strides[0], "bc": bc, "bc_stride": bc.strides[0], "dt": dt,
            "dt_stride": dt_stride, "a": a, "d": self.d, "z": z, "z_stride": z.strides[0],
            "z_head": 4 * self.head_dim, "state": self.state, "state_stride": self.state.strides[0], "out": self.out,
        }  # fmt: skip

    def run(self, rows_of, runs, rows=slice(None)):
        step, _alive = harness.step_of_runs(rows_of, runs)
        harness.run("ssm.scan", self.decay, **self.fields(step, rows))
        return self.out

    def expected(self, rows, state):
        """Results of these rows, and the states before each and after the last, [channels, d_state]."""
        b, c = (
            self.bc[rows][:, first : first + self.n_group * self.d_state].reshape(len(rows), self.n_group, -1)
            for first in (0, self.n_group * self.d_state)
        )
        b, c = (np.repeat(v, self.n // self.n_group, axis=1) for v in (b, c))
        dt = self.dt[rows].astype(np.float64)
        dt, a = (dt[:, : self.n], self.a) if self.decay == "channel" else (
            np.repeat(dt[:, : self.n_head] + self.bias, self.head_dim, 1), np.repeat(self.a, self.head_dim, 0)
        )  # fmt: skip
        x, z = self.x[rows][:, : self.n].astype(np.float64), self.z[rows][:, : self.n]
        return reference.scan(x, b, c, np.logaddexp(0, dt), a.astype(np.float64), self.d, z, state)


SHAPES = [
    ("head", 2, 64, 1, 128), ("head", 4, 16, 2, 16), ("head", 3, 20, 3, 37), ("head", 20, 5, 5, 3),
    ("channel", 1, 64, 1, 16), ("channel", 1, 77, 1, 18), ("channel", 1, 3, 1, 2), ("channel", 1, 16, 1, 128),
]  # fmt: skip


def close(got, exact):
    """Sums of up to 128 products in one accumulator of four, exponentials to 2 ulp: some 1e-6 of the greatest."""
    np.testing.assert_allclose(got, exact, rtol=2e-5, atol=4e-6 * np.abs(exact).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_runs_of_three_sequences(shape):
    """Interleaved rows; one sequence begins, one goes on from a slot, one has a single row."""
    case = Case(*shape, n_rows=9)
    before = case.state.copy()
    out = case.run(ROWS_OF, RUNS)
    for rows, run in zip(ROWS_OF, RUNS, strict=True):
        start = np.zeros((case.n, case.d_state))
        if run["source"] >= 0:
            start = case.channels_of(before[run["source"]])
        exact, states = case.expected(rows, start)
        close(out[rows], exact)
        close(case.channels_of(case.state[run["target"]]), states[-1])
        if run["mark_slot"] >= 0:
            close(case.channels_of(case.state[run["mark_slot"]]), states[run["mark"]])
    assert np.array_equal(case.state[3], before[3])
    lanes = case.state[:3, :, :, : case.d_state].transpose(0, 1, 2, 4, 3).reshape(3, case.n_head, -1, case.d_state)
    assert not lanes[:, :, case.head_dim :].any()  # lanes past a head's channels, which are saved too
    assert (harness.margin(out) == 0xA5).all()


@pytest.mark.parametrize("shape", [("head", 3, 24, 1, 40), ("channel", 1, 50, 1, 17)], ids=str)
@pytest.mark.parametrize("mark", [0, 1, 31, 32, 40])
def test_a_sequence_cut_in_pieces_gives_the_same_bits(shape, mark):
    """Past the tokens that the kernel takes together, with a mark at their ends and within."""
    count, results = 71, []
    for pieces in ((count,), (1,) * count, (33, 32, 6)):
        case, outs, source, first = Case(*shape, n_rows=count), [], -1, 0
        kept = None
        for size in pieces:
            target = 1 - max(source, 0)
            run = {"source": source, "target": target}
            if first <= mark < first + size:
                run |= {"mark": mark - first, "mark_slot": 4}
            outs.append(case.run([list(range(size))], [run], slice(first, first + size)).copy())
            source, first = target, first + size
        kept = case.state[4].copy()
        results.append((np.concatenate(outs), case.state[source].copy(), kept))
    for one in results[1:]:
        for got, exact in zip(one, results[0], strict=True):
            assert np.array_equal(got, exact)


@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[4:5], ids=str)
def test_extreme_steps(shape):
    """Steps of almost nothing and steps that forget everything."""
    case = Case(*shape, n_rows=9, dt_scale=60.0)
    exact, _ = case.expected(list(range(9)), np.zeros((case.n, case.d_state)))
    close(case.run([list(range(9))], [{"source": -1, "target": 0}]), exact)


@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[4:5], ids=str)
def test_nan_of_a_step_is_not_hidden(shape):
    case = Case(*shape, n_rows=3)
    case.dt[1, 0] = np.nan
    out = case.run([[0, 1, 2]], [{"source": -1, "target": 0}])
    touched = case.head_dim if case.decay == "head" else 1
    assert np.isnan(out[1:, :touched]).all()
    assert np.isfinite(out[0]).all()
    assert np.isfinite(out[:, touched:]).all()

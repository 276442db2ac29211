"""The gated delta rule and its decays against float64; runs, slots and marks; bits that do not depend on the batch."""

import numpy as np
import pytest

from localllm.kernels.delta_net import COLUMNS, state_floats
from tests.kernels import harness, reference_delta_net

BOUND = -5.0


@pytest.mark.parametrize("kind", ["softplus", "bounded"])
@pytest.mark.parametrize("n", [1, 16, 37, 1100])
def test_decay(kind, n):
    rng = np.random.default_rng(n)
    x = harness.placed(rng.standard_normal((3, n)).astype(np.float32))
    x[0], x[1, 0], x[1, -1] = 0, 80, -80
    a, dt = (harness.placed((f * rng.random(n)).astype(np.float32)) for f in (-2, 1))
    out = harness.buffer((3, n))
    harness.run(
        "delta_net.decay", kind, n_rows_at=np.array([3]), n=n, x=x, a=a, dt=dt, bound=harness.bits(BOUND), out=out
    )
    # exp16 has a relative error of a few ulp, and g, at most some 160, an absolute one of 160 * 2**-23.
    exact = reference_delta_net.decay(kind, x, a.astype(np.float64), dt, BOUND)
    np.testing.assert_allclose(out, exact, rtol=3e-5, atol=2e-38)
    x[2, 0] = np.nan
    harness.run(
        "delta_net.decay", kind, n_rows_at=np.array([3]), n=n, x=x, a=a, dt=dt, bound=harness.bits(BOUND), out=out
    )
    np.testing.assert_array_equal(np.argwhere(np.isnan(out)), [[2, 0]])


class Case:
    """Rows of one or more sequences, and slots of states."""

    def __init__(self, decays="head", n_rows=9, n_head=4, n_head_k=2, repeat=1, k_dim=24, n=40, seed=0):
        self.decays, self.n_head, self.n_head_k, self.repeat = decays, n_head, n_head_k, repeat
        self.k_dim, self.n = k_dim, n
        rng = np.random.default_rng(seed)
        q, k = rng.standard_normal((2, n_rows, n_head_k, k_dim))
        k /= np.linalg.norm(k, axis=-1, keepdims=True)
        v = rng.standard_normal((n_rows, n_head, n))
        self.q, self.k, self.v = (x.astype(np.float32) for x in (q, k, v))
        # As in a model: the queries, keys and values of a row follow each other.
        self.rows = harness.placed(np.concatenate([x.reshape(n_rows, -1) for x in (self.q, self.k, self.v)], -1))
        of_decays = n_rows, n_head, k_dim if decays == "channel" else 1
        self.decay = harness.placed(rng.random(of_decays).astype(np.float32))
        self.beta = harness.placed(rng.random((n_rows, n_head)).astype(np.float32))
        self.states = rng.standard_normal((6, n_head, k_dim, n)).astype(np.float32)
        self.slots = harness.placed(self.to_slots(self.states))

    def to_slots(self, states):
        """[n_slots, n_head, k_dim, n] as the kernel has them."""
        blocks = -(-self.n // COLUMNS)
        padded = np.zeros((*states.shape[:-1], blocks * COLUMNS), np.float32)
        padded[..., : self.n] = states
        split = padded.reshape(len(states), self.n_head, self.k_dim, blocks, COLUMNS)
        return split.transpose(0, 1, 3, 2, 4).reshape(len(states), state_floats(self.n_head, self.k_dim, self.n))

    def run(self, rows_of, runs):
        """See harness.step_of_runs. Results [n_rows, n_head, n]."""
        out = harness.buffer(self.v.shape)
        step, keep = harness.step_of_runs(rows_of, runs)
        q, size, stride = self.rows.ctypes.data, 4 * self.n_head_k * self.k_dim, self.rows.strides[0]
        harness.run(
            "delta_net.scan", self.decays, step=step, n_head=self.n_head, n=self.n, k_dim=self.k_dim,
            n_head_k=self.n_head_k, repeat=self.repeat, q=q, q_stride=stride, k=q + size, k_stride=stride,
            v=q + 2 * size, v_stride=stride, decay=self.decay, beta=self.beta, scale=harness.bits(0.5),
            state=self.slots, state_stride=self.slots.strides[0], out=out,
        )  # fmt: skip
        assert keep
        return out

    def exact(self, rows, source):
        """Results [len(rows), n_head, n], and states [len(rows) + 1, n_head, k_dim, n]."""
        start = self.states[source] if source >= 0 else np.zeros(self.states.shape[1:])
        heads = []
        for h in range(self.n_head):
            key = h // self.repeat % self.n_head_k
            q, k, v, g = self.q[rows, key], self.k[rows, key], self.v[rows, h], self.decay[rows, h]
            heads.append(reference_delta_net.scan(start[h], q, k, v, g, self.beta[rows, h], 0.5))
        return np.stack([out for out, _ in heads], 1), np.stack([states for _, states in heads], 1)


SHAPES = {
    "odd": {},
    "each key for two heads": {"repeat": 2},
    "small": {"k_dim": 3, "n": 1},
    "whole": {"k_dim": 64, "n": 64, "n_head": 2},
    "as Qwen3.5": {"k_dim": 128, "n": 128, "n_head": 2},
}
# Sums of up to 128 products of order one, in float32, over states of order one that a few tokens change.
BUDGET = 2e-5


@pytest.mark.parametrize("decays", ["head", "channel"])
@pytest.mark.parametrize("shape", SHAPES)
def test_runs_of_three_sequences(decays, shape):
    """Interleaved rows; one sequence goes on from a slot, one begins, one has no mark."""
    case = Case(decays, n_rows=15, **SHAPES[shape])
    rows_of = [[0, 3, 4, 7, 8, 9, 12, 13, 14], [2], [1, 5, 6, 10, 11]]
    runs = [
        {"source": 2, "target": 0, "mark": 8, "mark_slot": 1},
        {"source": -1, "target": 3},
        {"source": 2, "target": 4, "mark": 0, "mark_slot": 5},
    ]
    before, out = case.slots.copy(), case.run(rows_of, runs)
    for rows, run in zip(rows_of, runs, strict=True):
        exact, states = case.exact(rows, run["source"])
        np.testing.assert_allclose(out[rows], exact, rtol=0, atol=BUDGET)
        kept = {run["target"]: len(rows)} | ({run["mark_slot"]: run["mark"]} if "mark" in run else {})
        for slot, row in kept.items():
            np.testing.assert_allclose(case.slots[slot], case.to_slots(states[row][None])[0], rtol=0, atol=BUDGET)
    np.testing.assert_array_equal(case.slots[2], before[2])


@pytest.mark.parametrize("decays", ["head", "channel"])
def test_a_sequence_cut_in_pieces_gives_the_same_bits(decays):
    case = Case(decays, n_rows=19)
    rows = [*range(1, 19, 2), 18, 16, 14]
    others = [row for row in range(19) if row not in rows]
    whole = case.run([rows], [{"source": -1, "target": 0, "mark": 11, "mark_slot": 3}])
    end, mark = case.slots[0].copy(), case.slots[3].copy()
    for pieces in ((1,) * 12, (5, 3, 3, 1)):
        source, done = -1, 0
        for size in pieces:
            part, target = rows[done : done + size], 2 if source == 1 else 1
            if done == 11:
                np.testing.assert_array_equal(case.slots[source], mark)
            out = case.run([others, part], [{"source": 4, "target": 5}, {"source": source, "target": target}])
            np.testing.assert_array_equal(out[part], whole[part])
            source, done = target, done + size
        np.testing.assert_array_equal(case.slots[source], end)


@pytest.mark.parametrize("decays", ["head", "channel"])
def test_zeros_and_extremes(decays):
    """A decay of 0 forgets all but the last token, however large it was; of nothing comes nothing."""
    case = Case(decays, n_rows=4)
    case.decay[...], case.slots[2] = 0, 1e30
    out = case.run([[0, 1, 2, 3]], [{"source": 2, "target": 0}])
    alone = case.run([[3]], [{"source": -1, "target": 1}])
    np.testing.assert_array_equal(out[3], alone[3])
    np.testing.assert_array_equal(case.slots[0], case.slots[1])
    case.rows[...] = 0
    assert not case.run([[0, 1, 2, 3]], [{"source": -1, "target": 0}]).any()
    assert not case.slots[0].any()

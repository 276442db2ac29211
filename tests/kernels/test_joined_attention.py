"""Attention to a window's cells and to entries, all or chosen ones, against float64."""

import numpy as np
import pytest

from localllm.kernels.cells import KV_TYPES, cell_bytes
from localllm.kernels.joined_attention import max_heads
from tests.kernels import harness, stored

N_ENTRIES = 96
TOLERANCE = 4e-6


def normal(rng, *shape, scale=1.0):
    return harness.placed((scale * rng.standard_normal(shape)).astype(np.float32))


class Case:
    """Rows of two sequences; cells that no row sees are NaN."""

    def __init__(
        self, positions, seqs, n_head=8, dim=32, window=20, ratio=4, top_k=0, kv="f32", scale=0.2, n_cells=256,
        members=1, sinks=True,
    ):  # fmt: skip
        rng = np.random.default_rng(dim + n_head)
        self.positions, self.seqs, self.n_head, self.dim = positions, seqs, n_head, dim
        self.window, self.ratio, self.top_k, self.kv, self.scale = window, ratio, top_k, kv, scale
        self.n_cells = n_cells
        self.q = normal(rng, len(positions), n_head * dim, scale=2)
        self.members, self.sinks = members, normal(rng, n_head) if sinks else None
        self.rows = [normal(rng, 2, n, dim) for n in (200, N_ENTRIES * members)]
        self.chosen = harness.buffer((len(positions), top_k), np.int32, 0xFF)
        if top_k:
            for row, position in enumerate(positions):
                n = min(top_k, (position + 1) // ratio)
                self.chosen[row, :n] = np.sort(rng.permutation((position + 1) // ratio)[:n])

    def stored(self, rows, n_cells):
        """[2, n, dim] as cells of the type."""
        size = cell_bytes(self.kv, self.dim)
        out = harness.buffer((2, n_cells, size), np.uint8, 0xFF)
        for position in range(rows.shape[1]):
            out[:, position % n_cells] = stored.rows(self.kv, rows[:, position])
        return out

    def run(self, group=0):
        cells, entries = self.rows
        longest = max(self.positions) + 1
        step, keep = harness.step(positions=self.positions, seqs=self.seqs)
        out = harness.buffer(self.q.shape, fill=0xFF)
        harness.run(
            "joined_attention.heads", self.kv, step=step, q=self.q, q_stride=self.q.strides[0], n_head=self.n_head,
            dim=self.dim, cells=self.stored(cells[:, :longest], self.n_cells), n_cells=self.n_cells, window=self.window,
            entries=self.stored(entries, entries.shape[1]), n_entries=entries.shape[1], ratio=self.ratio,
            members=self.members, chosen=self.chosen if self.top_k else 0, top_k=self.top_k,
            scale=harness.bits(self.scale), sinks=0 if self.sinks is None else self.sinks, out=out,
            out_stride=out.strides[0], group=group or max_heads(self.dim),
        )  # fmt: skip
        assert keep
        return out.reshape(len(self.positions), self.n_head, self.dim)

    def exact(self):
        cells, entries = (stored.known(self.kv, x).astype(np.float64) for x in self.rows)
        out = np.zeros((len(self.positions), self.n_head, self.dim))
        for row, (position, seq) in enumerate(zip(self.positions, self.seqs, strict=True)):
            n = (position + 1) // self.ratio if self.ratio else 0
            numbers = self.chosen[row, : min(n, self.top_k)] if self.top_k else np.arange(n)
            first = max(0, position + 1 - self.window) if self.window else n * self.ratio
            of_entries = entries[seq].reshape(N_ENTRIES, self.members * self.dim)[numbers].reshape(-1, self.dim)
            seen = np.concatenate([of_entries, cells[seq, first : position + 1]])
            for head in range(self.n_head):
                s = seen @ self.q[row].reshape(self.n_head, -1)[head].astype(np.float64) * self.scale
                sink = -np.inf if self.sinks is None else self.sinks[head]
                m = max(s.max(), sink)
                w = np.exp(s - m)
                out[row, head] = w @ seen / (w.sum() + np.exp(sink - m))
        return out


POSITIONS, SEQS = [0, 3, 4, 19, 20, 63, 64, 130, 199], [0, 1, 0, 1, 0, 0, 1, 0, 1]
SHAPES = {
    "plain": {}, "window alone": {"ratio": 0}, "wide": {"window": 100, "dim": 64}, "chosen": {"top_k": 5},
    "many chosen": {"top_k": 40, "ratio": 3}, "all of few": {"ratio": 128}, "one head": {"n_head": 1},
    "groups": {"window": 0, "members": 4, "sinks": False}, "all": {"window": 1000, "ratio": 0, "sinks": False},
    "chosen groups": {"window": 0, "members": 3, "ratio": 3, "top_k": 6, "sinks": False},
    "odd": {"n_head": 11, "dim": 40}, "tiny": {"n_head": 3, "dim": 7, "top_k": 2}, "large": {"n_head": 20, "dim": 512},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_two_sequences(shape):
    case = Case(POSITIONS, SEQS, **SHAPES[shape])
    exact = case.exact()
    np.testing.assert_allclose(case.run(), exact, rtol=0, atol=TOLERANCE * max(1, np.abs(exact).max()) * 4)


@pytest.mark.parametrize("shape", ["plain", "many chosen", "odd", "large"])
def test_units_do_not_show(shape):
    case = Case(POSITIONS, SEQS, **SHAPES[shape])
    whole = case.run()
    for group in (1, 3, 8):
        np.testing.assert_array_equal(case.run(group), whole)


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize("dim", [32, 96])
def test_other_types_of_cells(kv, dim):
    case = Case(POSITIONS, SEQS, dim=dim, kv=kv, top_k=6)
    np.testing.assert_allclose(case.run(), case.exact(), rtol=0, atol=2e-5)


def test_cells_that_go_round():
    case = Case([150, 199, 180], [0, 0, 1], n_cells=128)
    np.testing.assert_allclose(case.run(), case.exact(), rtol=0, atol=2e-5)


def test_scores_of_any_size():
    for scale in (0.0, 50.0):
        case = Case(POSITIONS, SEQS, scale=scale)
        np.testing.assert_allclose(case.run(), case.exact(), rtol=0, atol=5e-4)


def test_rows_that_scratch_has_no_room_for():
    assert max_heads(512) >= 32
    assert max_heads(1 << 16) == 0

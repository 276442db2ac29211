"""Entries made of groups of positions, against float64."""

import numpy as np
import pytest

from localllm.kernels.cells import KV_TYPES, cell_bytes
from tests import reference
from tests.kernels import harness, stored

N_CELLS, N_ENTRIES, EPS = 64, 32, 1e-5


def normal(rng, *shape, scale=1.0):
    return harness.placed((scale * rng.standard_normal(shape)).astype(np.float32))


def twin(values, scores, ape, dim, overlap, norm, frequencies, group):
    """Entry `group` of one sequence's rows [n, (1 + overlap) * dim]."""
    ratio = len(ape)
    members = [(p, slice(-dim, None)) for p in range(group * ratio, (group + 1) * ratio)]
    if overlap and group:
        members = [(p, slice(0, dim)) for p in range((group - 1) * ratio, group * ratio)] + members
    s = np.stack([scores[p, part].astype(np.float64) + ape[p % ratio, part] for p, part in members])
    w = np.exp(s - s.max(0))
    x = (w / w.sum(0) * np.stack([values[p, part] for p, part in members])).sum(0)
    if norm is not None:
        x = reference.rms_norm(x, norm, EPS)
    n_rot = 2 * len(frequencies)
    angles = group * ratio * frequencies
    tail = x[dim - n_rot :].copy()
    x[dim - n_rot :: 2] = tail[::2] * np.cos(angles) - tail[1::2] * np.sin(angles)
    x[dim - n_rot + 1 :: 2] = tail[::2] * np.sin(angles) + tail[1::2] * np.cos(angles)
    return x


class Case:
    def __init__(self, dim, ratio, overlap, n_rot, scale=1.0, seed=0):
        rng = np.random.default_rng(seed)
        self.dim, self.ratio, self.overlap, self.width = dim, ratio, overlap, (1 + overlap) * dim
        self.lengths = (50, 23)
        self.rows = [[normal(rng, n, self.width, scale=scale) for n in self.lengths] for _ in range(2)]
        self.ape, self.norm = normal(rng, ratio, self.width), normal(rng, dim)
        self.frequencies = np.ascontiguousarray(10.0 ** -np.linspace(0, 3, n_rot // 2))

    def cells(self, of):
        """Both sequences' rows in their cells; what is not there is NaN."""
        out = harness.buffer((2, N_CELLS, self.width), fill=0xFF)
        for seq, rows in enumerate(of):
            out[seq, np.arange(len(rows)) % N_CELLS] = rows
        return out

    def run(self, layout, kv, out, rows_of, runs, norm=True, gain=1.0, pairing=()):
        step, keep = harness.step_of_runs(rows_of, runs)
        harness.run(
            "compress.entries", layout, kv, *pairing, gain=harness.bits(gain), step=step,
            values=self.cells(self.rows[0]), scores=self.cells(self.rows[1]),
            n_cells=N_CELLS, dim=self.dim, ratio=self.ratio, overlap=self.overlap, ape=self.ape,
            norm=self.norm if norm else 0, eps=harness.bits(EPS), n_rot=2 * len(self.frequencies),
            frequencies=self.frequencies, out=out, n_entries=N_ENTRIES,
        )  # fmt: skip
        assert keep

    def exact(self, seq, group, norm=True):
        return twin(
            self.rows[0][seq], self.rows[1][seq], self.ape, self.dim, self.overlap, self.norm if norm else None,
            self.frequencies, group,
        )  # fmt: skip


BOTH = [list(range(0, 50)), list(range(50, 73))], [{"seq": 0}, {"seq": 1}]


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize(("dim", "n_rot", "ratio"), [(1, 0, 3), (24, 4, 4), (64, 64, 8), (100, 32, 4)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0])
def test_entries_of_two_sequences(dim, n_rot, ratio, overlap, scale):
    case = Case(dim, ratio, overlap, n_rot, scale)
    out = harness.buffer((2, N_ENTRIES, dim))
    case.run("rows", "f32", out, *BOTH)
    for seq, n in enumerate(case.lengths):
        for group in range(n // ratio):
            np.testing.assert_allclose(out[seq, group], case.exact(seq, group), rtol=2e-4, atol=2e-5)
        assert (out[seq, n // ratio :].view(np.uint8) == 0xA5).all()


def test_without_a_norm_and_in_tiles():
    case = Case(40, 4, 0, 0)
    out = harness.buffer((2, N_ENTRIES // 16, 40, 16))
    case.run("tiles", "f32", out, *BOTH, norm=False)
    for seq, n in enumerate(case.lengths):
        for group in range(n // 4):
            exact = case.exact(seq, group, norm=False)
            np.testing.assert_allclose(out[seq, group // 16, :, group % 16], exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [40, 16])
def test_halves_that_turn_at_the_beginning(dim):
    """With a gain of cosines and sines; scores of 0 make plain means."""
    case, n_rot = Case(dim, 4, 0, 16), 16
    case.rows[1], case.ape = [np.zeros_like(rows) for rows in case.rows[1]], np.zeros_like(case.ape)
    out = harness.buffer((2, N_ENTRIES, dim))
    case.run("rows", "f32", out, *BOTH, gain=1.5, pairing=("halves",))
    for seq, n in enumerate(case.lengths):
        for group in range(n // 4):
            mean = case.rows[0][seq][4 * group : 4 * group + 4].astype(np.float64).mean(0)
            x = reference.rms_norm(mean, case.norm, EPS)
            turned = (x[: n_rot // 2] + 1j * x[n_rot // 2 : n_rot]) * 1.5 * np.exp(4j * group * case.frequencies)
            x[:n_rot] = np.concatenate([turned.real, turned.imag])
            np.testing.assert_allclose(out[seq, group], x, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("layout", ["rows", "tiles"])
def test_other_types_of_cells(layout):
    case = Case(64, 4, 1, 16)
    plain = harness.buffer((2, N_ENTRIES, 64))
    case.run("rows", "f32", plain, *BOTH)
    for kv in KV_TYPES:
        out = harness.buffer((2, N_ENTRIES, cell_bytes(kv, 64)), np.uint8)
        case.run(layout, kv, out, *BOTH)
        for group in (0, 5, 11):
            cell, known = out[0, group], plain[0, group]
            if layout == "tiles":
                known = stored.keys_of(kv, known)
                cell = out[0].reshape(N_ENTRIES // 16, -1)[group // 16, stored.lanes(kv, 64) == group % 16]
            np.testing.assert_array_equal(cell, stored.rows(kv, known))


def test_groups_cut_in_pieces_give_the_same_bits():
    case = Case(48, 4, 1, 8)
    whole = harness.buffer((2, N_ENTRIES, 48))
    case.run("rows", "f32", whole, *BOTH)
    for size in (1, 3, 7):
        out = harness.buffer((2, N_ENTRIES, 48))
        for seq, n in enumerate(case.lengths):
            for first in range(0, n, size):
                count = min(size, n - first)
                case.run("rows", "f32", out, [list(range(count))], [{"seq": seq, "position": first}])
        assert np.array_equal(out.view(np.uint8), whole.view(np.uint8))


def test_cells_that_go_round():
    """Position p is cell p % n_cells."""
    case = Case(16, 4, 1, 0)
    case.lengths = (100, 23)
    rng = np.random.default_rng(4)
    case.rows = [[normal(rng, n, 32) for n in case.lengths] for _ in range(2)]
    out = harness.buffer((2, N_ENTRIES, 16))
    case.run("rows", "f32", out, [list(range(20))], [{"seq": 0, "position": 80}])
    for group in range(20, 25):
        np.testing.assert_allclose(out[0, group], case.exact(0, group), rtol=2e-4, atol=2e-5)


def test_nan_is_passed_on():
    case = Case(20, 4, 0, 0)
    case.rows[1][0][6, 3] = np.nan
    out = harness.buffer((2, N_ENTRIES, 20))
    case.run("rows", "f32", out, *BOTH, norm=False)
    assert np.flatnonzero(np.isnan(out[0, :12])).tolist() == [1 * 20 + 3]

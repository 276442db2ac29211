"""Attention over the cache against float64 softmax."""

import numpy as np
import pytest

from localllm.kernels import attention as kernel
from tests import reference
from tests.kernels import harness, stored

# Scores here reach 13 and are off by a few roundings of 6e-8 of that, weights as much; values reach 4. Sums of weighted
# values add less.
BUDGET = 1e-5


class Case:
    """Queries, and a cache in which every cell that no row may read is NaN."""

    def __init__(
        self,
        positions, seqs=None, n_head=4, n_head_kv=2, k_dim=32, v_dim=32, n_cells=512, n_seq=1, window=0,
        kv="f16", seed=0,
    ):  # fmt: skip
        self.positions, self.seqs = list(positions), list(seqs or [0] * len(positions))
        self.n_head, self.n_head_kv, self.k_dim, self.v_dim = n_head, n_head_kv, k_dim, v_dim
        self.n_cells, self.window, self.kv = n_cells, window, kv
        rng = np.random.default_rng(seed)
        self.scale = 1 / np.sqrt(k_dim)
        self.q = harness.placed(3 * rng.standard_normal((len(self.positions), n_head, k_dim)).astype(np.float32))
        self.keys = rng.standard_normal((n_seq, n_head_kv, n_cells, k_dim)).astype(np.float32)
        self.values = rng.standard_normal((n_seq, n_head_kv, n_cells, v_dim)).astype(np.float32)
        for seq in range(n_seq):
            ends = [p + 1 for p, s in zip(self.positions, self.seqs, strict=True) if s == seq]
            self.keys[seq, :, max(ends, default=0) :] = np.nan
            self.values[seq, :, max(ends, default=0) :] = np.nan
        self.k_cache = harness.placed(stored.tiles(kv, self.keys))
        self.v_cache = harness.placed(stored.rows(kv, self.values))
        self.keys, self.values = stored.known_keys(kv, self.keys), stored.known(kv, self.values)

    def expected(self) -> np.ndarray:
        q = stored.queries(self.kv, self.q, self.scale)
        return reference.attention(q, self.keys, self.values, self.positions, self.seqs, self.window, self.scale)

    def run(self, T: int, block: int = 1, split: int = 0) -> np.ndarray:
        n_rows = len(self.positions)
        out = harness.buffer((n_rows, self.n_head, self.v_dim), fill=0xFF)
        partial = harness.buffer(
            (n_rows, self.n_head, self.n_cells // (split or self.n_cells), kernel.partial_floats(self.v_dim)), fill=0xFF
        )
        step, _alive = harness.step(positions=self.positions, seqs=self.seqs)
        fields = {
            "step": step, "q": self.q, "q_stride": self.q.strides[0], "n_head": self.n_head,
            "n_head_kv": self.n_head_kv, "k_dim": self.k_dim, "v_dim": self.v_dim, "k_cache": self.k_cache,
            "v_cache": self.v_cache, "n_cells": self.n_cells, "window": self.window, "scale": harness.bits(self.scale),
            "out": out, "out_stride": out.strides[0], "block": block, "split": split, "partial": partial,
        }  # fmt: skip
        harness.run("attention.cells", self.kv, T, **fields)
        if split:
            harness.run("attention.merge", **fields)
        return out


def assert_right(case: Case, T: int, **how) -> np.ndarray:
    out = case.run(T, **how)
    np.testing.assert_allclose(out, case.expected(), rtol=0, atol=BUDGET)
    return out


KINDS = pytest.mark.parametrize(("kv", "T"), harness.ATTENTION)


@KINDS
@pytest.mark.parametrize(("n_head", "n_head_kv"), [(1, 1), (4, 4), (9, 3), (12, 2), (8, 1)])
def test_grouped_queries(kv, T, n_head, n_head_kv):
    assert_right(Case([0, 1, 40], n_head=n_head, n_head_kv=n_head_kv, kv=kv), T)


@KINDS
@pytest.mark.parametrize(("k_dim", "v_dim"), [(64, 64), (32, 24), (24, 40), (40, 16), (80, 80), (128, 8), (8, 256)])
def test_head_sizes(kv, T, k_dim, v_dim):
    if kv in stored.QUANTIZED:
        k_dim, v_dim = -(-k_dim // 32) * 32, -(-v_dim // 32) * 32
    assert_right(Case([0, 15, 16, 33], k_dim=k_dim, v_dim=v_dim, kv=kv), T)
    assert_right(Case([300], k_dim=k_dim, v_dim=v_dim, kv=kv), T, split=kernel.CHUNK)


@KINDS
@pytest.mark.parametrize("position", [0, 1, 15, 16, 31, 32, 255, 256, 257, 511, 512, 1000, 1023])
def test_chunks(kv, T, position):
    """Positions at and past the ends of chunks; a unit of work for each chunk gives the same bits as one for all."""
    case = Case([position], n_cells=1024, kv=kv)
    whole = assert_right(case, T)
    np.testing.assert_array_equal(case.run(T, split=kernel.CHUNK), whole)


@KINDS
@pytest.mark.parametrize("block", [1, 3, 8, 64])
def test_blocks_of_rows(kv, T, block):
    """A prompt's rows, each of which sees itself and what is before it; the result does not depend on the block."""
    case = Case(range(240, 277), kv=kv)
    out = assert_right(case, T, block=block)
    np.testing.assert_array_equal(out, case.run(T, block=1))
    np.testing.assert_array_equal(out, case.run(T, block=block, split=kernel.CHUNK))


@KINDS
@pytest.mark.parametrize("window", [1, 16, 31, 100, 256, 2000])
def test_window(kv, T, window):
    for positions in ([0, 1, 2, 3], [298, 299, 300, 301, 302], [700]):
        case = Case(positions, n_cells=1024, window=window, kv=kv)
        alone = assert_right(case, T)
        for how in ({"block": 4}, {"split": kernel.CHUNK}, {"block": 4, "split": kernel.CHUNK}):
            np.testing.assert_allclose(case.run(T, **how), alone, rtol=0, atol=BUDGET)


@KINDS
def test_cells_before_the_window_are_not_used(kv, T):
    """They may have been given to others: what they hold, NaN even, does not show."""
    case = Case([700, 701], n_cells=1024, window=100, kv=kv)
    expected = case.expected()
    case.v_cache[:, :, : 700 + 1 - 100] = 255  # NaN as f16 and f32, as scales too
    for how in ({}, {"block": 2}, {"split": kernel.CHUNK}):
        np.testing.assert_allclose(case.run(T, **how), expected, rtol=0, atol=BUDGET)


@KINDS
def test_sequences_in_one_batch(kv, T):
    """Rows of several sequences, in stretches and mixed; each sees its own cells alone."""
    seqs = [0, 0, 0, 2, 2, 1, 0, 2, 1, 1, 1]
    positions = [10, 11, 12, 300, 301, 0, 13, 302, 1, 2, 3]
    case = Case(positions, seqs, n_seq=4, kv=kv)
    for how in ({}, {"block": 4}, {"block": 16}, {"split": kernel.CHUNK}, {"block": 3, "split": kernel.CHUNK}):
        assert_right(case, T, **how)


@KINDS
def test_large_scores_do_not_overflow(kv, T):
    """Scores of thousands, where one weight is all; and rows that differ by hundreds from chunk to chunk."""
    case = Case([600], n_cells=1024, kv=kv)
    case.q *= 1000
    assert_right(case, T)
    assert_right(case, T, split=kernel.CHUNK)


@KINDS
def test_equal_scores_give_the_mean(kv, T):
    case = Case([299], kv=kv)
    case.q[...] = 0
    mean = case.values[0, :, :300].astype(np.float64).mean(1)
    np.testing.assert_allclose(case.run(T), np.repeat(mean, 2, 0)[None], rtol=0, atol=BUDGET)


def test_queries_together(monkeypatch):
    """As few cells as possible are read twice, by as few idle queries; narrow registers hold fewer sums."""
    monkeypatch.setenv("LOCALLLM_TARGET", "generic")
    assert [kernel.together(group, few) for group, few in ((3, True), (6, True), (8, True), (7, False))] == [3, 6, 4, 6]
    if "avx512vnni" in harness.runnable_targets():
        monkeypatch.setenv("LOCALLLM_TARGET", "avx512vnni")
        assert [kernel.together(group, True) for group in (1, 3, 4, 6, 7, 9, 16)] == [3, 3, 4, 6, 8, 3, 8]
        assert kernel.together(3, False) == 8

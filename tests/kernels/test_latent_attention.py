"""Latent attention and its rows against float64: the twin is that of attention, keys being whole rows, values their
first elements."""

import numpy as np
import pytest

from localllm.kernels import attention, latent_attention
from localllm.kernels.cells import KV_TYPES
from tests import reference
from tests.kernels import harness, stored
from tests.kernels.test_attention import BUDGET

KINDS = pytest.mark.parametrize("kv", KV_TYPES)


class Case:
    """Queries, and rows of latents, of which all that no row may read are NaN."""

    def __init__(self, positions, seqs=None, n_head=5, dim=64, n_rot=32, n_cells=512, n_seq=1, window=0, kv="f16"):
        self.positions, self.seqs = list(positions), list(seqs or [0] * len(positions))
        self.n_head, self.dim, self.n_rot, self.n_cells, self.window, self.kv = n_head, dim, n_rot, n_cells, window, kv
        rng, n = np.random.default_rng(dim + n_head), len(self.positions)
        self.scale = 1 / np.sqrt(dim + n_rot)
        # Elements of the rotated part stand where a row of queries has them: behind others, head by head.
        self.q = harness.placed(3 * rng.standard_normal((n, n_head, dim)).astype(np.float32))
        self.rotated = harness.placed(3 * rng.standard_normal((n, n_head, 7 + n_rot)).astype(np.float32))
        self.rows = rng.standard_normal((n_seq, n_cells, dim + n_rot)).astype(np.float32)
        for seq in range(n_seq):
            ends = [p + 1 for p, s in zip(self.positions, self.seqs, strict=True) if s == seq]
            self.rows[seq, max(ends, default=0) :] = np.nan
        self.cache = harness.placed(stored.rows(kv, self.rows))
        self.rows = stored.known(kv, self.rows)

    def expected(self) -> np.ndarray:
        q = np.concatenate([self.q, self.rotated[..., 7:]], -1)
        keys = self.rows[:, None]
        values = keys[..., : self.dim]
        return reference.attention(q, keys, values, self.positions, self.seqs, self.window, self.scale)

    def run(self, block: int = 1, split: int = 0, group: int = 5, together: int = 16, **more) -> np.ndarray:
        n_rows = len(self.positions)
        out = harness.buffer((n_rows, self.n_head, self.dim), fill=0xFF)
        n_parts = self.n_cells // (split or self.n_cells)
        partial = harness.buffer((n_rows, self.n_head, n_parts, attention.partial_floats(self.dim)), fill=0xFF)
        step, _alive = harness.step(positions=self.positions, seqs=self.seqs)
        rotated = self.rotated[..., 7:]
        fields = {
            "step": step, "n_head": self.n_head, "n_cells": self.n_cells, "window": self.window, "out": out,
            "split": split, "partial": partial, "q": self.q, "q_row": self.q.strides[0], "q_head": self.q.strides[1],
            "rotated": rotated, "rotated_row": rotated.strides[0], "rotated_head": rotated.strides[1], "dim": self.dim,
            "n_rot": self.n_rot, "cache": self.cache, "scale": harness.bits(self.scale), "block": block,
            "group": group, "together": together,
        } | more  # fmt: skip
        harness.run("latent_attention.cells", self.kv, **fields)
        if split:
            harness.run("latent_attention.merge", **fields)
        return out


def assert_right(case: Case, **how) -> np.ndarray:
    out = case.run(**how)
    np.testing.assert_allclose(out, case.expected(), rtol=0, atol=BUDGET)
    return out


@KINDS
@pytest.mark.parametrize("n_head", [1, 2, 3, 8, 17])
def test_heads(kv, n_head):
    """Groups of heads, and how many queries go together, do not show in the bits."""
    case = Case([0, 1, 40], n_head=n_head, kv=kv)
    out = assert_right(case)
    for how in ({"group": 1}, {"group": 17, "together": 32}, {"group": 3, "together": 1, "block": 2}):
        np.testing.assert_array_equal(case.run(**how), out)


@KINDS
@pytest.mark.parametrize(
    ("dim", "n_rot"), [(512, 64), (256, 0), (32, 64), (48, 16), (40, 8), (40, 32), (24, 24), (17, 2), (576, 1)]
)
def test_sizes(kv, dim, n_rot):
    if kv in stored.QUANTIZED and (dim + n_rot) % 32:
        dim, n_rot = -(-dim // 32) * 32, -(-n_rot // 32) * 32
    assert_right(Case([0, 15, 16, 33, 34], dim=dim, n_rot=n_rot, kv=kv), block=5)
    assert_right(Case([300], dim=dim, n_rot=n_rot, kv=kv), split=attention.CHUNK)


@KINDS
@pytest.mark.parametrize("position", [0, 1, 15, 16, 31, 32, 255, 256, 257, 511, 512, 1000, 1023])
def test_chunks(kv, position):
    """Positions at and past the ends of chunks; a unit of work for each chunk gives the same bits as one for all."""
    case = Case([position], n_cells=1024, kv=kv)
    whole = assert_right(case)
    np.testing.assert_array_equal(case.run(split=attention.CHUNK), whole)


@KINDS
@pytest.mark.parametrize("block", [1, 3, 8, 64])
def test_blocks_of_rows(kv, block):
    """A prompt's rows, each of which sees itself and what is before it; the result does not depend on the block."""
    case = Case(range(240, 277), kv=kv)
    out = assert_right(case, block=block)
    np.testing.assert_array_equal(out, case.run(block=1))
    np.testing.assert_array_equal(out, case.run(block=block, split=attention.CHUNK))


def test_sinks():
    """A cell that takes weight and gives nothing, a score a head."""
    case = Case([0, 40, 300], n_cells=512, kv="f32")
    sinks = harness.placed(np.array([-50, 0, 3, 8, 60], np.float32))
    whole = case.run(sinks=sinks, block=3)
    np.testing.assert_array_equal(case.run(sinks=sinks, split=attention.CHUNK), whole)
    q = np.concatenate([case.q, case.rotated[..., 7:]], -1).astype(np.float64)
    for row, position in enumerate(case.positions):
        scores = q[row] @ case.rows[0, : position + 1].astype(np.float64).T * case.scale
        share = 1 / (1 + np.exp(sinks - np.logaddexp.reduce(scores, -1)))
        np.testing.assert_allclose(whole[row], case.expected()[row] * share[:, None], rtol=0, atol=BUDGET)


@KINDS
@pytest.mark.parametrize("window", [1, 16, 31, 100, 256, 2000])
def test_window(kv, window):
    for positions in ([0, 1, 2, 3], [298, 299, 300, 301, 302], [700]):
        case = Case(positions, n_cells=1024, window=window, kv=kv)
        alone = assert_right(case)
        for how in ({"block": 4}, {"split": attention.CHUNK}, {"block": 4, "split": attention.CHUNK}):
            np.testing.assert_array_equal(case.run(**how), alone)


@KINDS
def test_cells_before_the_window_are_not_used(kv):
    """They may have been given to others: what they hold, NaN even, does not show."""
    case = Case([700, 701], n_cells=1024, window=100, kv=kv)
    expected = case.expected()
    case.cache[:, : 700 + 1 - 100] = 255  # NaN as f16 and f32, as scales too
    for how in ({}, {"block": 2}, {"split": attention.CHUNK}):
        np.testing.assert_allclose(case.run(**how), expected, rtol=0, atol=BUDGET)


@KINDS
def test_sequences_in_one_batch(kv):
    """Rows of several sequences, in stretches and mixed; each sees its own cells alone."""
    seqs = [0, 0, 0, 2, 2, 1, 0, 2, 1, 1, 1]
    positions = [10, 11, 12, 300, 301, 0, 13, 302, 1, 2, 3]
    case = Case(positions, seqs, n_seq=4, kv=kv)
    for how in ({}, {"block": 4}, {"block": 16}, {"split": attention.CHUNK}, {"block": 3, "split": attention.CHUNK}):
        assert_right(case, **how)


@KINDS
@pytest.mark.parametrize("top_k", [1, 16, 31, 256, 300, 512])
def test_chosen_cells(kv, top_k):
    """Rows of two sequences; where there are no more cells than `top_k`, their list gives the bits of all."""
    positions, seqs = [700, 701, 3, 702, 4, 300], [0, 0, 1, 0, 1, 2]
    case, rng = Case(positions, seqs, n_cells=1024, n_seq=3, kv=kv), np.random.default_rng(top_k)
    lists = [np.sort(rng.permutation(p + 1)[:top_k]) for p in positions]
    chosen = np.full((len(positions), top_k), 1 << 30, np.int32)
    for row, numbers in enumerate(lists):
        chosen[row, : len(numbers)] = numbers
    chosen = harness.placed(chosen)
    out = case.run(block=3, chosen=chosen, top_k=top_k)
    for row, (seq, numbers) in enumerate(zip(seqs, lists, strict=True)):
        keys = case.rows[seq : seq + 1, None, numbers]
        q = np.concatenate([case.q, case.rotated[..., 7:]], -1)[row : row + 1]
        exact = reference.attention(q, keys, keys[..., : case.dim], [len(numbers) - 1], [0], 0, case.scale)
        np.testing.assert_allclose(out[row], exact[0], rtol=0, atol=BUDGET)
    for how in ({"block": 1, "group": 2}, {"split": attention.CHUNK}, {"split": attention.CHUNK, "together": 2}):
        np.testing.assert_array_equal(case.run(chosen=chosen, top_k=top_k, **how), out)
    whole = [row for row, position in enumerate(positions) if position < top_k]
    np.testing.assert_array_equal(case.run()[whole], out[whole])


@KINDS
def test_large_scores_do_not_overflow(kv):
    """Scores of thousands, where one weight is all; and rows that differ by hundreds from chunk to chunk."""
    case = Case([600], n_cells=1024, kv=kv)
    case.q *= 1000
    assert_right(case)
    assert_right(case, split=attention.CHUNK)


@KINDS
def test_equal_scores_give_the_mean(kv):
    case = Case([299], kv=kv)
    case.q[...] = case.rotated[...] = 0
    mean = case.rows[0, :300, : case.dim].astype(np.float64).mean(0)
    np.testing.assert_allclose(case.run(), np.tile(mean, (1, 5, 1)), rtol=0, atol=BUDGET)


def test_scratch_holds_what_goes_together():
    for dim, n_rot in ((512, 64), (1024, 64), (40, 8)):
        assert latent_attention.max_together(dim, n_rot) >= 8
    together = latent_attention.max_together(1024, 64)
    case = Case(range(40), dim=1024, n_rot=64, n_head=4)
    np.testing.assert_array_equal(case.run(block=40, group=4, together=together), case.run())


@KINDS
@pytest.mark.parametrize("pairing", harness.PAIRINGS)
@pytest.mark.parametrize(("dim", "n_rot"), [(64, 32), (96, 0), (40, 8)])
def test_rows_are_rotated_and_stored(kv, pairing, dim, n_rot):
    """Only the last elements are rotated; what lies beside a row's own cell stays as it was."""
    if kv in stored.QUANTIZED:
        dim = -(-dim // 32) * 32
    rng, positions, seqs, n_cells = np.random.default_rng(3), [0, 5, 300, 7], [0, 0, 1, 1], 256
    x = harness.placed(rng.standard_normal((4, dim)).astype(np.float32))
    angles = rng.standard_normal((4, n_rot // 2))
    table = harness.placed(np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32))
    rotated = x.copy()
    if n_rot:
        part = rotated[:, None, dim - n_rot :]
        rotated[:, dim - n_rot :] = reference.rotate(part, table[..., 0], table[..., 1], pairing)[:, 0]
    size = latent_attention.bytes_of(kv)(dim)
    cache = harness.buffer((2, n_cells, size), np.uint8)
    before = cache.copy()
    step, _alive = harness.step(positions=positions, seqs=seqs)
    harness.run(
        "latent_attention.store_rows", pairing, kv, step=step, x=x, stride=x.strides[0], dim=dim, n_rot=n_rot,
        table=table, cache=cache, n_cells=n_cells,
    )  # fmt: skip
    expected = stored.rows(kv, rotated)
    for row, (seq, position) in enumerate(zip(seqs, positions, strict=True)):
        before[seq, position % n_cells] = expected[row]
    np.testing.assert_array_equal(cache, before)

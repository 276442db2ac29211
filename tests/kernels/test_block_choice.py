"""The choice of blocks, and attention over those that were chosen, against float64."""

import numpy as np
import pytest

from localllm.kernels.attention import CHUNK
from localllm.kernels.attention import partial_floats as floats
from localllm.kernels.cells import KV_TYPES
from localllm.kernels.scores import WRONG
from tests.kernels import harness, stored
from tests.kernels.test_attention import BUDGET, Case

N_CELLS = 512
POSITIONS, SEQS = [0, 40, 41, 300, 500, 3], [0, 0, 0, 1, 1, 2]


def twin(q, keys, size, top_k, local):
    """q [n_rows, n_head, dim], keys [n_seq, n_cells, dim]: whether each block is attended to, [n_rows, n_head,
    n_blocks]."""
    n_blocks = -(-N_CELLS // (16 * size)) * 16
    out = np.zeros((len(q), q.shape[1], n_blocks), bool)
    for row, position in enumerate(POSITIONS):
        n = position // size + 1
        scores = q[row].astype(np.float64) @ keys[SEQS[row], : position + 1].astype(np.float64).T
        best = np.stack([scores[:, b * size : (b + 1) * size].max(-1) for b in range(n)], -1)
        best[:, max(0, n - local) :] = np.inf
        # Newer blocks first among those that always count.
        order = np.argsort(-best[:, ::-1], axis=-1, kind="stable")[:, :top_k]
        for head in range(q.shape[1]):
            out[row, head, n - 1 - order[head]] = True
    return out


def chosen_by_kernels(kv, q, keys, size, top_k, local, T=4):
    n_rows, n_head, dim = q.shape
    n_blocks = -(-N_CELLS // (16 * size)) * 16
    step, _alive = harness.step(positions=POSITIONS, seqs=SEQS)
    scores = harness.buffer((n_rows, n_head, n_blocks), fill=0xFF)
    out = harness.buffer((n_rows, n_head, n_blocks), np.uint8, fill=0)
    shared = {"step": step, "n_head": n_head, "size": size, "n_blocks": n_blocks, "top_k": top_k, "local": local}
    harness.run("block_choice.scores", kv, T, q=q, dim=dim, keys=keys, n_cells=N_CELLS, out=scores, **shared)
    harness.run("block_choice.choose", scores=scores, out=out, **shared)
    assert (harness.margin(out) == 0).all()
    return out


def made(kv, n_head, dim, seed=0):
    """Queries, and keys as they are and as they lie in the cache."""
    rng = np.random.default_rng(seed)
    q = harness.placed(rng.standard_normal((len(POSITIONS), n_head, dim)).astype(np.float32))
    keys = rng.standard_normal((3, N_CELLS, dim)).astype(np.float32)
    return q, stored.known_keys(kv, keys), harness.placed(stored.tiles(kv, keys))


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize(("size", "top_k", "local"), [(4, 3, 1), (16, 5, 2), (33, 2, 1), (128, 2, 1), (300, 1, 0)])
def test_choice(kv, size, top_k, local):
    q, keys, cache = made(kv, 3, 64)
    exact = twin(stored.queries(kv, q, 1.0), keys, size, top_k, local)
    assert np.array_equal(chosen_by_kernels(kv, q, cache, size, top_k, local), exact)


@pytest.mark.parametrize(("size", "top_k", "local"), [(7, 4, 4), (7, 4, 9), (7, 4, 0), (1, 1, 1), (512, 1, 1)])
def test_few_or_many_that_always_count(size, top_k, local):
    q, keys, cache = made("f32", 1, 24, seed=1)
    assert np.array_equal(chosen_by_kernels("f32", q, cache, size, top_k, local), twin(q, keys, size, top_k, local))


def test_of_equals_as_many_as_there_may_be():
    q, _, cache = made("f32", 2, 16)
    q[...] = 0
    out = chosen_by_kernels("f32", q, cache, 16, 4, 1)
    for row, position in enumerate(POSITIONS):
        n = position // 16 + 1
        for head in range(2):
            assert list(np.flatnonzero(out[row, head])) == ([*range(3), n - 1] if n > 4 else [*range(n)])


@pytest.mark.parametrize(("size", "top_k"), [(1, 3), (4, 5), (4, 200), (7, 1), (64, 2)])
def test_groups(size, top_k):
    """The best whole groups, and the one that has only begun."""
    n_keys = -(-N_CELLS // size // 256) * 256
    rng = np.random.default_rng(size)
    scores = harness.buffer((len(POSITIONS), n_keys))
    scores[...] = rng.standard_normal(scores.shape)
    scores[:, ::5] = 0.25
    exact = np.zeros((len(POSITIONS), n_keys + 1), np.uint8)
    for row, position in enumerate(POSITIONS):
        n = (position + 1) // size
        exact[row, np.argsort(-scores[row, :n], kind="stable")[:top_k]] = 1
        exact[row, n] = (position + 1) % size != 0
    out = harness.buffer(exact.shape, np.uint8, fill=0)
    step, _alive = harness.step(positions=POSITIONS, seqs=SEQS)
    harness.run(
        "block_choice.groups", step=step, scores=scores, n_keys=n_keys, size=size, n_blocks=n_keys + 1, top_k=top_k,
        out=out,
    )  # fmt: skip
    np.testing.assert_array_equal(out, exact)


class Chosen(Case):
    """Attention in which each key-value head of a row sees some blocks."""

    def __init__(self, size, share, n_lists=0):
        super().__init__(POSITIONS, SEQS, n_cells=N_CELLS, n_seq=3, kv="f32")
        self.size, n_blocks = size, -(-N_CELLS // size)
        rng = np.random.default_rng(size)
        self.chosen = harness.buffer((len(POSITIONS), n_lists or self.n_head_kv, n_blocks), np.uint8)
        self.chosen[...] = rng.random(self.chosen.shape) < share
        for row, position in enumerate(POSITIONS):
            self.chosen[row, :, position // size] = 1

    def expected(self):
        out = np.zeros((len(POSITIONS), self.n_head, self.v_dim))
        for row, position in enumerate(POSITIONS):
            for head in range(self.n_head):
                cells = np.arange(position + 1)
                cells = cells[self.chosen[row, head // 2 % self.chosen.shape[1], cells // self.size] == 1]
                k, v = (x[self.seqs[row], head // 2, cells].astype(np.float64) for x in (self.keys, self.values))
                s = k @ self.q[row, head].astype(np.float64) * self.scale
                w = np.exp(s - s.max())
                out[row, head] = w @ v / w.sum()
        return out

    def run(self, T, block=1, split=0):
        out = harness.buffer((len(POSITIONS), self.n_head, self.v_dim), fill=0xFF)
        partial = harness.buffer((len(POSITIONS), self.n_head, N_CELLS // CHUNK, floats(self.v_dim)), fill=0xFF)
        step, _alive = harness.step(positions=self.positions, seqs=self.seqs)
        fields = {
            "step": step, "q": self.q, "q_stride": self.q.strides[0], "n_head": self.n_head,
            "n_head_kv": self.n_head_kv, "k_dim": self.k_dim, "v_dim": self.v_dim, "k_cache": self.k_cache,
            "v_cache": self.v_cache, "n_cells": N_CELLS, "scale": harness.bits(self.scale), "out": out,
            "out_stride": out.strides[0], "block": block, "split": split, "partial": partial, "chosen": self.chosen,
            "n_lists": self.chosen.shape[1], "size": self.size, "n_blocks": self.chosen.shape[-1],
        }  # fmt: skip
        harness.run("attention.cells", "f32", T, "blocks", **fields)
        if split:
            harness.run("attention.merge", **fields)
        return out


@pytest.mark.parametrize("n_lists", [1, 2])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("size", [1, 4, 20, 128, 256, 300])
def test_attention_over_chosen_blocks(size, share, n_lists):
    """Also: few rows and many give the same bits, whole chunks left out or not."""
    case = Chosen(size, share, n_lists)
    whole, parts = case.run(4, block=16), case.run(4, split=CHUNK)
    np.testing.assert_allclose(whole, case.expected(), rtol=0, atol=BUDGET)
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_chooses_nothing(value):
    """All blocks of the head that could have been chosen are marked, so that attention makes NaN of them."""
    q, _, cache = made("f32", 2, 24)
    q[:, 1, 3] = value
    out = chosen_by_kernels("f32", q, cache, 16, 5, 2)
    for row, position in enumerate(POSITIONS):
        n = position // 16 + 1
        assert (out[row, 0] <= 1).all()
        assert (out[row, 1, : max(0, n - 2)] == (WRONG if n > 5 else 1)).all()
        assert (out[row, 1, max(0, n - 2) : n] == 1).all()

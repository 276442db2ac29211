"""Hashes of n-grams in Python's integers, gates against float64, rows of a table that were picked."""

import numpy as np
import pytest

from localllm.kernels.formats.table import FORMATS
from tests import reference
from tests.kernels import blocks, harness

SIZE, PER_GRAM, EOS, N_SLOTS = 4, 3, 7, 5
N_HEADS = (SIZE - 1) * PER_GRAM
RNG = np.random.default_rng(3)
MULTIPLIERS = RNG.integers(0, 1 << 63, SIZE, np.uint64) * np.uint64(2) + np.uint64(1)
OFFSETS, SIZES = RNG.integers(0, 1 << 30, N_HEADS, np.uint64), RNG.integers(1, 1 << 20, N_HEADS, np.uint64)


def twin(tokens, before):
    """Rows [t, n_heads] of tokens that follow those of `before`."""
    out = []
    for t in range(len(tokens)):
        window, past = [int(tokens[t])], [*before, *tokens[:t]][::-1]
        is_cut = False
        for s in range(SIZE - 1):
            is_cut = is_cut or s >= len(past) or past[s] == EOS
            window.append(EOS if is_cut else int(past[s]))
        rows = []
        for head in range(N_HEADS):
            mixed = 0
            for token, multiplier in zip(window[: head // PER_GRAM + 2], MULTIPLIERS, strict=False):
                mixed ^= token * int(multiplier) % (1 << 64)
            rows.append(mixed % int(SIZES[head]) + int(OFFSETS[head]))
        out.append(rows)
    return np.array(out)


def in_slot(tokens):
    """The state after these tokens."""
    last = [int(token) + 1 for token in tokens[::-1][: SIZE - 1]]
    return last + [0] * (SIZE - 1 - len(last))


def test_runs_of_three_sequences():
    """One begins, one goes on, one has a single row; ends of text within and before."""
    tokens = harness.placed(np.array([5, 9, EOS, 250000, 1, 2, 0, 3, EOS, 4], np.int32))
    rows_of = [[0, 3, 4, 6, 7, 9], [1, 2, 8], [5]]
    before = [11, EOS, 12, 13]
    runs = [
        {"source": -1, "target": 0, "mark": 5, "mark_slot": 4}, {"source": 3, "target": 1}, {"source": 3, "target": 2},
    ]  # fmt: skip
    state = harness.buffer((N_SLOTS, SIZE - 1), np.int32)
    state[3] = in_slot(before)
    step, keep = harness.step_of_runs(rows_of, runs)
    step["tokens"] = tokens.ctypes.data
    out = harness.buffer((10, N_HEADS), np.int32)
    harness.run(
        "ngram.rows", step=step, size=SIZE, eos=EOS, multipliers=MULTIPLIERS, n_heads=N_HEADS, per_gram=PER_GRAM,
        offsets=OFFSETS, sizes=SIZES, state=state, state_stride=state.strides[0], out=out,
    )  # fmt: skip
    assert keep
    for rows, run in zip(rows_of, runs, strict=True):
        past = before if run["source"] >= 0 else []
        np.testing.assert_array_equal(out[rows], twin(tokens[rows], past))
        assert list(state[run["target"]]) == in_slot([*past, *tokens[rows]])
        if "mark" in run:
            assert list(state[run["mark_slot"]]) == in_slot(tokens[rows][: run["mark"]])


@pytest.mark.parametrize("n", [1, 24, 77])
def test_gate(n):
    key, query, value = (
        harness.placed(np.random.default_rng(i).standard_normal(shape).astype(np.float32))
        for i, shape in enumerate([(5, 3, n), (5, 3, n), (5, n)])
    )
    key[0, 0] = 0
    s = (key.astype(np.float64) * query).sum(-1) * 0.25
    root = np.sign(s) * np.sqrt(np.maximum(np.abs(s), 1e-6))
    out = harness.buffer((5, 3, n))
    harness.run(
        "ngram.gate", n_rows_at=np.array([5]), n=n, count=3, key=key, query=query, value=value,
        factor=harness.bits(0.25), out=out,
    )  # fmt: skip
    exact = value[:, None] / (1 + np.exp(-root))[..., None]
    np.testing.assert_allclose(out, exact, rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(out[0, 0], value[0] * np.float32(0.5))


@pytest.mark.parametrize("name", ["F32", "Q8_0", "Q4_K"])
def test_picked(name):
    k = 512
    raw = harness.placed(blocks.weights(name, 9, k, np.random.default_rng(1)))
    rows = harness.placed(np.array([[8, 0, 3], [3, 3, 7]], np.int32))
    out = harness.buffer((2, 3, k))
    harness.run(
        "embed.picked", FORMATS[name].module, n_rows_at=np.array([2]), n=3, rows=rows, table=raw,
        row_bytes=raw.strides[0], k=k, out=out,
    )  # fmt: skip
    np.testing.assert_array_equal(out, reference.dequantize(name, raw)[rows])

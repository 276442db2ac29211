"""RWKV's recurrences and token shift against float64: heads of many sizes, runs of several sequences, states before and
after, the mark, and the same bits however a sequence is cut."""

import numpy as np
import pytest

from localllm.kernels.wkv import padded, together
from tests.kernels import harness
from tests.kernels import reference_wkv as twin

N_SLOTS, N_ROWS, EPS = 5, 9, 64e-5
ROWS = [[0, 3, 4, 6, 7], [1, 2, 8], [5]]
RUNS = [
    {"source": -1, "target": 0, "mark": 4, "mark_slot": 4},
    {"source": 3, "target": 1, "mark": 0, "mark_slot": -1},
    {"source": 3, "target": 2},
]
"""Interleaved rows: one sequence begins, one goes on from a slot, one has a single row."""
KINDS = ["bonus", "gated", "seven", "seven, first layer", "seven, bare"]
SIZES = [(64, 2), (32, 3), (128, 1), (48, 2), (5, 3), (33, 1)]


def random(rng, *shape, scale=1.0):
    return harness.placed((scale * rng.standard_normal(shape)).astype(np.float32))


class Case:
    """Rows of one kind of time mix, for n_head heads of `size` elements."""

    def __init__(self, kind, size, n_head, n_rows=N_ROWS, group=1, scale=1.0):
        rng = np.random.default_rng(size + n_head)
        self.kind, self.size, self.n_head, self.group = kind, size, n_head, group
        n, n_kv = size * n_head, size * n_head // group
        names = {"bonus": "r k v w gate", "gated": "r k v w gate"}.get(kind, "r k v w a v_first v_mix gate")
        self.rows = {name: random(rng, n_rows, n_kv if name in "kv" else n, scale=scale) for name in names.split()}
        constants = {"bonus": "first ln_w ln_b", "gated": ""}.get(kind, "k_k k_a r_k ln_w ln_b")
        self.constants = {name: random(rng, n) for name in constants.split()}
        left_out = {"seven, first layer": "v_first v_mix", "seven, bare": "v_first v_mix gate ln_w ln_b"}.get(kind, "")
        for name in left_out.split():
            self.rows.pop(name, None)
            self.constants.pop(name, None)
        self.state = harness.buffer((N_SLOTS, n_head, size, padded(size)))
        self.state[...] = 0
        self.state[3, :, :, :size] = rng.standard_normal((n_head, size, size))

    def run(self, rows, step, n_rows):
        out = harness.buffer((n_rows, self.size * self.n_head))
        fields = rows | self.constants | {
            "step": step, "n_head": self.n_head, "size": self.size, "eps": harness.bits(EPS), "state": self.state,
            "state_stride": self.state.strides[0], "out": out,
        }  # fmt: skip
        if self.kind.startswith("seven"):
            harness.run("wkv7.rows", together(self.size), **fields)
        else:
            more = {"n_head_kv": self.n_head // self.group, "scale": harness.bits(0.3)}
            harness.run("wkv6.rows", self.kind, together(self.size), **fields, **more)
        return out

    def exact(self, head, rows, state):
        """Rows and states of a head for these rows."""

        def of(table, name, h=head):
            x = table.get(name)
            return None if x is None else x[..., h * self.size : (h + 1) * self.size].astype(np.float64)

        r, k, v, w, gate = (
            of(rows, name, head // self.group if name in "kv" else head) for name in ("r", "k", "v", "w", "gate")
        )
        ln = of(self.constants, "ln_w"), of(self.constants, "ln_b"), EPS
        if self.kind == "bonus":
            return twin.bonus6(r, k, v, w, gate, state, of(self.constants, "first"), *ln)
        if self.kind == "gated":
            return twin.gated6(r, k, v, w, gate, state, 0.3)
        a, v_first, v_mix = (of(rows, name) for name in ("a", "v_first", "v_mix"))
        k_k, k_a, r_k = (of(self.constants, name) for name in ("k_k", "k_a", "r_k"))
        return twin.seven(r, k, v, w, a, gate, state, v_first, v_mix, k_k, k_a, r_k, *ln)


def check(got, exact):
    """Sums of up to 128 products of a few units in size, over up to 5 tokens."""
    np.testing.assert_allclose(got, exact, rtol=2e-5, atol=2e-5 * max(1, np.abs(exact).max()))


@pytest.mark.parametrize(("size", "n_head"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_three_sequences(kind, size, n_head):
    case = Case(kind, size, n_head)
    before = case.state.copy()
    step, keep = harness.step_of_runs(ROWS, RUNS)
    out = case.run(case.rows, step, N_ROWS)
    assert keep
    for rows, run in zip(ROWS, RUNS, strict=True):
        for head in range(n_head):
            start = np.zeros((size, size)) if run["source"] < 0 else before[run["source"], head, :, :size]
            these = {name: x[rows] for name, x in case.rows.items()}
            exact, states = case.exact(head, these, start.astype(np.float64))
            check(out[rows, head * size : (head + 1) * size], exact)
            check(case.state[run["target"], head, :, :size], states[-1])
            if run.get("mark_slot", -1) >= 0:
                check(case.state[run["mark_slot"], head, :, :size], states[run["mark"]])
    assert np.array_equal(case.state[3], before[3])
    assert not case.state[:3, :, :, size:].any()
    assert (harness.margin(out) == 0xA5).all()


@pytest.mark.parametrize("group", [2, 4])
def test_heads_share_keys_and_values(group):
    case = Case("gated", 32, 4, group=group)
    step, keep = harness.step_of_runs([list(range(N_ROWS))], [{"source": -1, "target": 0}])
    out = case.run(case.rows, step, N_ROWS)
    assert keep
    for head in range(4):
        check(out[:, head * 32 : (head + 1) * 32], case.exact(head, case.rows, np.zeros((32, 32)))[0])


@pytest.mark.parametrize("mark", [0, 1])
def test_the_mark_before_a_later_row_of_a_sequence_that_goes_on(mark):
    case = Case("seven", 16, 2)
    before = case.state.copy()
    step, keep = harness.step_of_runs([[0, 1, 2]], [{"source": 3, "target": 0, "mark": mark, "mark_slot": 1}])
    case.run(case.rows, step, N_ROWS)
    assert keep
    _, states = case.exact(1, {name: x[:3] for name, x in case.rows.items()}, before[3, 1].astype(np.float64))
    check(case.state[1, 1], states[mark])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_cut_in_pieces_gives_the_same_bits(kind):
    results = []
    for pieces in ((13,), (1,) * 13, (2, 5, 6)):
        case = Case(kind, 64, 2, n_rows=13)
        outs, source, first = [], -1, 0
        for size in pieces:
            target = 1 - max(source, 0)
            step, keep = harness.step_of_runs([list(range(size))], [{"source": source, "target": target}])
            rows = {name: harness.placed(x[first : first + size]) for name, x in case.rows.items()}
            outs.append(case.run(rows, step, size))
            assert keep
            source, first = target, first + size
        results.append((np.concatenate(outs), case.state[source].copy()))
    for out, state in results[1:]:
        assert np.array_equal(out, results[0][0])
        assert np.array_equal(state, results[0][1])


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_and_extremes(kind):
    """Keys of zeros are not normed to NaN; decays reach 0 and 1; NaN is not hidden."""
    step, keep = harness.step_of_runs([list(range(N_ROWS))], [{"source": -1, "target": 0}])
    case = Case(kind, 64, 1)
    for x in case.rows.values():
        x[...] = 0
    expected = case.exact(0, case.rows, np.zeros((64, 64)))[0]
    check(case.run(case.rows, step, N_ROWS), expected)
    case = Case(kind, 64, 1)
    case.rows["w"][...] = np.linspace(-80, 6, 64)
    check(case.run(case.rows, step, N_ROWS), case.exact(0, case.rows, np.zeros((64, 64)))[0])
    case = Case(kind, 64, 1)
    case.rows["w"][4, 7] = np.nan
    out = case.run(case.rows, step, N_ROWS)
    assert keep
    assert np.isfinite(out[:4]).all()
    assert np.isnan(case.state[0, 0, 7]).all()
    assert np.isnan(out[5:]).all()


@pytest.mark.parametrize("n", [3, 16, 77, 320])
@pytest.mark.parametrize("n_lerps", [1, 2, 6])
@pytest.mark.parametrize("kind", ["fixed", "changed"])
def test_shift(kind, n_lerps, n):
    rng = np.random.default_rng(n)
    x, lerps, changes = random(rng, N_ROWS, n), random(rng, n_lerps, n), random(rng, n_lerps, N_ROWS, n)
    state, out = harness.buffer((N_SLOTS, n)), harness.buffer((n_lerps, N_ROWS, n))
    state[3], out[...] = rng.standard_normal(n), changes
    before = state.copy()
    step, keep = harness.step_of_runs(ROWS, RUNS)
    harness.run(
        "shift.rows", kind, step=step, x=x, n=n, lerps=lerps, n_lerps=n_lerps, out=out, out_stride=out.strides[0],
        state=state, state_stride=state.strides[0],
    )  # fmt: skip
    assert keep
    for rows, run in zip(ROWS, RUNS, strict=True):
        start = np.zeros(n) if run["source"] < 0 else before[run["source"]].astype(np.float64)
        factors = lerps[:, None].astype(np.float64) + (changes[:, rows] if kind == "changed" else 0)
        exact = twin.shifted(x[rows].astype(np.float64), start, factors)
        np.testing.assert_allclose(out[:, rows], exact, rtol=1e-5, atol=1e-5)
        if kind == "fixed":
            assert np.array_equal(state[run["target"]], x[rows[-1]])
    if kind == "changed":
        assert np.array_equal(state, before)
    else:
        assert np.array_equal(state[4], x[ROWS[0][3]])
        assert np.array_equal(state[3], before[3])
    assert (harness.margin(out) == 0xA5).all()


def test_shift_marks_what_lay_before_the_first_row():
    rng = np.random.default_rng(1)
    x, lerps, state, out = random(rng, 2, 40), random(rng, 1, 40), random(rng, 4, 40), harness.buffer((2, 40))
    for source, expected in ((2, state[2].copy()), (-1, np.zeros(40))):
        step, keep = harness.step_of_runs([[0, 1]], [{"source": source, "target": 0, "mark": 0, "mark_slot": 1}])
        harness.run(
            "shift.rows", "fixed", step=step, x=x, n=40, lerps=lerps, n_lerps=1, out=out, out_stride=0, state=state,
            state_stride=160,
        )  # fmt: skip
        assert keep
        assert np.array_equal(state[1], expected)

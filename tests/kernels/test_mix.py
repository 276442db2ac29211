"""LayerNorm, plain activations, gates, sums, bounds, factors and the scores of attention against float64."""

from typing import Any

import numpy as np
import pytest

from localllm.kernels.attention import ALL_AHEAD, CHUNK
from localllm.kernels.cells import KV_TYPES
from localllm.kernels.scores import FAR
from localllm.kernels.thread import Step
from tests import reference
from tests.kernels import harness, stored
from tests.kernels.test_attention import BUDGET, Case


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    x = scale * np.random.default_rng(seed).standard_normal(shape)
    return harness.placed(x.astype(np.float32))


@pytest.mark.parametrize("kind", ["rms", "layer"])
@pytest.mark.parametrize("n", [1, 7, 64, 577])
def test_norms_with_and_without_weights(kind, n):
    x, w, b = normal(6, n), normal(n, seed=1), normal(n, seed=2)
    x += np.float32(3)
    y = x.astype(np.float64) - (x.mean(-1, keepdims=True, dtype=np.float64) if kind == "layer" else 0)
    y = y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-5)
    for fields, expected in (({}, y), ({"w": w}, y * w), ({"w": w, "b": b}, y * w + b)):
        out = harness.buffer((6, n))
        harness.run(
            f"norm.{kind}", x=x, n=n, heads=1, out=out, n_rows_at=np.array([6]), stride=x.strides[0],
            out_stride=out.strides[0], eps=harness.bits(1e-5), **fields,
        )  # fmt: skip
        np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-4 if n == 1 else 5e-6)


PLAIN = {
    "silu": reference.silu, "gelu": reference.gelu, "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x.astype(np.float64))),
    "relu2": lambda x: np.maximum(x.astype(np.float64), 0) ** 2, "tanh": lambda x: np.tanh(x.astype(np.float64)),
}  # fmt: skip


@pytest.mark.parametrize("function", PLAIN)
@pytest.mark.parametrize("n", [15, 1100])
def test_plain(function, n):
    x, divisor = normal(3, n, scale=3), normal(n, seed=1)
    out = harness.buffer((3, n))
    for fields, expected in (({}, PLAIN[function](x)), ({"divisor": divisor}, PLAIN[function](x) / divisor)):
        harness.run("activation.plain", function, n_rows_at=np.array([3]), n=n, x=x, out=out, **fields)
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max())


def test_xielu():
    x = normal(3, 1100, scale=3)
    x[0, :6] = 0.0, -0.0, -5e-7, -1e-3, -0.34, -80.0
    above, below, line, point = numbers = harness.placed(np.array([1.3, 0.7, 0.5, -1e-6], np.float32))
    z = x.astype(np.float64)
    held = np.minimum(z, point)
    exact = np.where(z > 0, above * z * z, below * (np.expm1(held) - z)) + line * z
    out = harness.buffer((3, 1100))
    harness.run("activation.plain", "xielu", n_rows_at=np.array([3]), n=1100, x=x, out=out, numbers=numbers)
    np.testing.assert_allclose(out, exact, rtol=2e-6, atol=2e-7)


def test_bounded_gates():
    gate, up = normal(4, 70, scale=6), normal(4, 70, seed=1, scale=6)
    g, u = gate.astype(np.float64), up.astype(np.float64)
    bounded = np.clip(u, -7, 7)
    expected = {
        "swiglu_oai": np.minimum(g, 7) / (1 + np.exp(-1.702 * np.minimum(g, 7))) * (bounded + 1),
        "silu_clamped": reference.silu(np.minimum(g, 7)) * bounded,
        "clamped_silu": np.minimum(reference.silu(g), 7) * bounded,
        "relu": np.maximum(g, 0) * u,
        "sigmoid": u / (1 + np.exp(-g)),
    }
    for function, exact in expected.items():
        out = harness.buffer((4, 70))
        harness.run(
            "activation.gated", function, n_rows_at=np.array([4]), n=70, gate=gate, up=up, out=out,
            limit=harness.bits(7.0),
        )  # fmt: skip
        np.testing.assert_allclose(out, exact, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("bound", [25.0, 0.0])
def test_situ(bound):
    gate, up = normal(4, 70, scale=6), normal(4, 70, seed=1, scale=30)
    numbers = harness.placed(np.array([4, bound], np.float32))
    g, u = gate.astype(np.float64), up.astype(np.float64)
    exact = 4 * np.tanh(g / 4) / (1 + np.exp(-g)) * (np.tanh(u / bound) * bound if bound else u)
    out = harness.buffer((4, 70))
    harness.run("activation.gated", "situ", n_rows_at=np.array([4]), n=70, gate=gate, up=up, out=out, numbers=numbers)
    np.testing.assert_allclose(out, exact, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(("n", "group"), [(96, 1), (96, 8), (96, 96), (41, 1), (41, 41), (1200, 48)])
def test_multiply(n, group):
    x, add = normal(5, n), normal(5, n, seed=2)
    gate = normal(5, n // group, seed=1, scale=20)
    wide = np.repeat(gate.astype(np.float64), group, -1)
    for function, f in (("sigmoid", 1 / (1 + np.exp(-wide))), ("softplus", np.logaddexp(0, wide))):
        for fields, expected in (({}, x * f), ({"add": add}, x * f + add)):
            out = harness.buffer((5, n))
            harness.run(
                "activation.multiply", function, n_rows_at=np.array([5]), n=n, group=group, x=x, gate=gate, out=out,
                **fields,
            )  # fmt: skip
            np.testing.assert_allclose(out, expected, rtol=3e-6, atol=1e-6)


def test_add_and_clamp():
    x, add = normal(3, 411), normal(3, 411, seed=1)
    out = harness.buffer((3, 411))
    rows = np.array([3])
    harness.run("mix.add", n_rows_at=rows, n=411, x=x, factor=harness.bits(0.5), add=add, out=out)
    np.testing.assert_array_equal(out, x * np.float32(0.5) + add)
    harness.run("mix.clamp", n_rows_at=rows, n=411, x=x, limit=harness.bits(0.75))
    assert np.abs(x).max() == np.float32(0.75)


@pytest.mark.parametrize("n", [5, 411])
def test_add_row(n):
    x, row, out = normal(3, n), normal(n, seed=1), harness.buffer((3, n))
    harness.run("mix.add_row", n_rows_at=np.array([3]), n=n, x=x, row=row, out=out)
    np.testing.assert_array_equal(out, x + row)


@pytest.mark.parametrize("n", [1, 16, 37])
def test_pieces(n):
    """The second of three pieces of each of 5 groups, into every other place."""
    x, out = normal(4, 5, 3, n), harness.buffer((4, 5, 2, n))
    before = out.copy()
    harness.run(
        "mix.pieces", n_rows_at=np.array([4]), count=5, n=n, x=x.ctypes.data + 4 * n, x_stride=x.strides[0],
        x_step=x.strides[1], out=out, out_stride=out.strides[0], out_step=out.strides[1],
    )  # fmt: skip
    np.testing.assert_array_equal(out[:, :, 0], x[:, :, 1])
    np.testing.assert_array_equal(out[:, :, 1].view(np.int32), before[:, :, 1].view(np.int32))


def test_pieces_repeat():
    """Where the next piece is the same one."""
    x, out = normal(3, 21), harness.buffer((3, 4, 21))
    harness.run(
        "mix.pieces", n_rows_at=np.array([3]), count=4, n=21, x=x, x_stride=x.strides[0], x_step=0, out=out,
        out_stride=out.strides[0], out_step=out.strides[1],
    )  # fmt: skip
    np.testing.assert_array_equal(out, np.repeat(x[:, None], 4, 1))


def test_temperature():
    x, positions = normal(4, 20), [0, 7, 8, 1000]
    before, table = x.copy(), harness.placed(np.array([1, 2, 3], np.float32))
    step, _alive = harness.step(positions=positions)
    harness.run("mix.temperature", step=step, n=20, x=x, every=8, offset=1, table=table, last=2)
    np.testing.assert_array_equal(x, before * np.array([[1], [2], [2], [3]], np.float32))


@pytest.mark.parametrize("cap", [0.0, 30.0])
def test_logits(cap):
    x = normal(2, 301, scale=40)
    x[0, :3] = 1e-6, -0.3, 0.62
    exact = x.astype(np.float64) * 0.25
    exact = np.tanh(exact / cap) * cap if cap else exact
    step = harness.block(Step, n_out=2, logits=x)
    harness.run("mix.logits", step=step, n=301, factor=harness.bits(0.25), cap=harness.bits(cap))
    np.testing.assert_allclose(x, exact, rtol=1e-6)


def test_suppress():
    x = normal(3, 50)
    exact, step = x.copy(), harness.block(Step, n_out=2, logits=x)
    exact[:2, 7:23] = np.finfo(np.float32).min
    harness.run("mix.suppress", step=step, n=50, first=7, last=23)
    np.testing.assert_array_equal(x, exact)


def test_no_function_hides_nan():
    x, out = normal(1, 40), harness.buffer((1, 40))
    x[0, 5] = np.nan
    rows = np.array([1])
    for function in ("sigmoid", "softplus"):
        harness.run("activation.multiply", function, n_rows_at=rows, n=40, group=1, x=normal(1, 40), gate=x, out=out)
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(out)), [5])
    step = harness.block(Step, n_out=1, logits=x)
    harness.run("mix.logits", step=step, n=40, factor=harness.bits(1.0), cap=harness.bits(30.0))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(x)), [5])


class Changed(Case):
    """Attention whose scores are bounded, fall with distance, have biases or meet a sink; rows that see a window, a
    chunk, or what follows them."""

    def __init__(self, scores="plain", window=0, ahead=0, sinks=False, positions=(3, 40, 41, 300), **how):
        super().__init__(positions, window=window, **how)
        self.scores, self.ahead = scores, ahead
        self.sinks = normal(self.n_head, seed=9, scale=3) if sinks else None
        self.slopes = harness.placed(np.array([0.5, 0.25, 0.1, 0.01], np.float32))
        if scores == "relative":
            self.biases = normal(self.n_head, 2 * FAR + 1, seed=8)
            self.slopes = harness.placed(np.pad(self.biases, ((0, 0), (16, 16)), "edge"))

    def expected(self) -> np.ndarray:
        out = np.zeros((len(self.positions), self.n_head, self.v_dim))
        q = stored.queries(self.kv, self.q, self.scale).astype(np.float64)
        for row, place in enumerate(self.positions):
            first = place // -self.window * -self.window if self.window < 0 else max(0, place + 1 - self.window)
            first = first if self.window else 0
            last = min(place + self.ahead, max(self.positions))
            for h in range(self.n_head):
                k, v = (x[0, h // 2, first : last + 1].astype(np.float64) for x in (self.keys, self.values))
                s = k @ q[row, h] * self.scale
                distance = np.arange(first, last + 1) - place
                if self.scores == "capped":
                    s = 4 * np.tanh(s / 4)
                if self.scores == "alibi":
                    s = s - np.abs(distance) * float(self.slopes[h])
                if self.scores == "relative":
                    s = s + self.biases[h, np.clip(distance, -FAR, FAR) + FAR]
                sink = -np.inf if self.sinks is None else float(self.sinks[h])
                m = max(s.max(), sink)
                w = np.exp(s - m)
                out[row, h] = w @ v / (w.sum() + np.exp(sink - m))
        return out

    def run(self, T: int, block: int = 1, split: int = 0) -> np.ndarray:
        n = len(self.positions)
        out = harness.buffer((n, self.n_head, self.v_dim), fill=0xFF)
        partial = harness.buffer((n, self.n_head, self.n_cells // CHUNK, 64), fill=0xFF)
        step, _alive = harness.step(positions=self.positions, seqs=self.seqs)
        # The sequence is the second run of the batch.
        runs, _others = harness.step_of_runs([[], list(range(n))], [{"seq": 7}, {"seq": 0}])
        for field in ("n_runs", "runs", "order"):
            step[field] = runs[field]
        fields = {
            "step": step, "q": self.q, "q_stride": self.q.strides[0], "n_head": self.n_head,
            "n_head_kv": self.n_head_kv, "k_dim": self.k_dim, "v_dim": self.v_dim, "k_cache": self.k_cache,
            "v_cache": self.v_cache, "n_cells": self.n_cells, "window": self.window, "scale": harness.bits(self.scale),
            "out": out, "out_stride": out.strides[0], "block": block, "split": split, "partial": partial,
            "ahead": self.ahead, "cap": harness.bits(4.0), "slopes": self.slopes,
            "sinks": 0 if self.sinks is None else self.sinks,
        }  # fmt: skip
        arguments = (self.kv, T) if self.scores == "plain" else (self.kv, T, self.scores)
        harness.run("attention.cells", *arguments, **fields)
        if split:
            harness.run("attention.merge", **fields)
        return out


CHANGES: dict[str, dict[str, Any]] = {
    "capped": {"scores": "capped"}, "alibi": {"scores": "alibi"}, "sinks": {"sinks": True}, "chunks": {"window": -32},
    "both ways": {"ahead": ALL_AHEAD}, "alibi both ways": {"scores": "alibi", "ahead": ALL_AHEAD},
    "relative": {"scores": "relative"}, "relative both ways": {"scores": "relative", "ahead": ALL_AHEAD},
    "relative of a prompt": {"scores": "relative", "ahead": ALL_AHEAD, "positions": range(420)},
    **{f"{n} both ways": {"window": n + 1, "ahead": n, "positions": range(600)} for n in (0, 1, 64, 300)},
}  # fmt: skip


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize("change", CHANGES)
def test_attention_scores(change, kv):
    case = Changed(n_cells=1024, kv=kv, **CHANGES[change])
    whole, parts = case.run(4, block=16), case.run(4, split=CHUNK)
    np.testing.assert_allclose(whole, case.expected(), rtol=0, atol=BUDGET)
    np.testing.assert_array_equal(whole, parts)
    np.testing.assert_array_equal(whole, case.run(4, block=5))

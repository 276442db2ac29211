"""What surrounds attention of every kind: the queries' temperature, gates of the result, the
window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import tensors
from localllm.gguf.config import Config
from localllm.kernels import activation, attention, mix
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Recorder
from localllm.model.spec import Spec, is_causal
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place

_MAX_POSITIONS, _MAX_FACTORS = 1 << 24, 1 << 20
"""How far factors by position are tabled; from there on the last one holds."""


@dataclass(frozen=True)
class Temperature:
    """Factors of queries; a position's is number (position + offset) // every."""

    factors: Weight
    every: int
    offset: int

    def record(self, r: Recorder, q: Buffer, n: int) -> None:
        """Multiply rows of n elements, in place."""
        r.plan.op(
            "temperature", Key("mix", "temperature"), mix.TemperatureParams, (r.n_rows, n),
            step=r.step, n=n, x=q, every=self.every, offset=self.offset, table=self.factors.address,
            last=self.factors.k - 1,
        )  # fmt: skip


def read_temperature(f: LayerReader) -> Temperature | None:
    limit = f.spec.temperature(f.config, f.i)
    if limit is None:
        return None
    every, factor, offset = limit
    table = np.log(np.arange(min(_MAX_POSITIONS // every, _MAX_FACTORS) + 2) + 1.0) * factor + 1.0
    return Temperature(f.weights.constant(f"temperature every {every} by {factor}", table), every, offset)


@dataclass(frozen=True)
class Gate:
    """attn_gate: a function of its output multiplies the attention's, an element or a head each."""

    linear: Linear
    function: str

    def record(self, r: Recorder, name: str, out: Buffer, gate: Buffer, n: int) -> None:
        """out: rows of n elements; gate: the output of `linear`."""
        r.plan.op(
            name, Key("activation", "multiply", (self.function,)), activation.MultiplyParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, group=n // self.linear.w.n, x=out, gate=gate, add=0, out=out,
        )  # fmt: skip


def read_gate(f: LayerReader, n_head: int, v_dim: int) -> Gate | None:
    name = f.name("attn_gate.weight")
    if not f.weights.has(name):
        return None
    shape = f.weights.shape(name)
    # One head alone may be a vector.
    n = shape[1] if len(shape) > 1 else 1
    tensors.gate_rows(f.at("attn_gate.weight"), n, n_head, n_head * v_dim)
    return Gate(f.linear("attn_gate", f.config.n_embd, n), f.spec.gate)


@dataclass(frozen=True)
class QueryGate:
    """A gate in attn_q: its rows are a head's queries, then as many elements whose sigmoid multiplies the head's
    result, then the next head's (Qiu et al. 2025, arXiv 2505.06708)."""

    n_head: int
    dim: int

    def part(self, r: Recorder, both: Buffer, q: Buffer, gate: Buffer) -> None:
        """The queries of all heads, and their gates, out of the rows of attn_q."""
        n, dim = self.n_head * self.dim, self.dim
        with r.plan.stage():
            for i, out in enumerate((q, gate)):
                r.pieces("q and gate", self.n_head, dim, Place(both, i * dim * F32), (2 * n, 2 * dim), out, (n, dim))

    def record(self, r: Recorder, name: str, out: Buffer, gate: Buffer) -> None:
        n = self.n_head * self.dim
        r.plan.op(
            name, Key("activation", "multiply", ("sigmoid",)), activation.MultiplyParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, group=1, x=out, gate=gate, add=0, out=out,
        )  # fmt: skip


def window_of(c: Config, i: int) -> int:
    """As kernels have it: cells up to its own that a row sees, 0 for all, or below 0 the size of chunks."""
    if not c.swa_layers[i] or c.window is None:
        return 0
    if c.window.symmetric:
        return c.window.size // 2 + 1
    return -c.window.size if c.window.chunked else c.window.size


def ahead_of(c: Config, spec: Spec, i: int) -> int:
    """Cells past its own that a row sees."""
    if is_causal(spec, c.keys):
        return 0
    if c.swa_layers[i] and c.window and c.window.symmetric:
        return c.window.size // 2
    return attention.ALL_AHEAD


def require_causal(f: LayerReader, what: str) -> None:
    """For blocks whose rows cannot see what follows them."""
    tensors.supported(f.place, is_causal(f.spec, f.config.keys), f"{what} in both directions")

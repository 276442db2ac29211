"""The dense feed-forward block: gated or plain; the gate's matrix may be fused with the other (gate first)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers
from localllm.kernels import activation
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Linear, Norm, Recorder, Residual
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class FeedForward:
    """The weights of one layer's block, by GGUF's names; no gate: a plain activation."""

    name: str
    gate: Linear | None
    up: Linear
    down: Linear
    activation: str
    limit: float = 0.0
    divisor: Weight | None = None
    """What the activation's results are divided by (ffn.act.scales)."""
    numbers: Weight | None = None
    """Those that the activation has in this layer."""
    scale_gate: Linear | None = None
    """One row, whose sigmoid multiplies the block's result (the gate of shared experts)."""
    sub_norm: Norm | None = None
    """Of what `down` takes."""

    def hidden(self, r: Recorder, x: Value) -> Buffer:
        """The activations that `down` takes."""
        n = self.up.w.n
        up = r.floats("up", n)
        if self.gate is None:
            r.linears(x, [(self.up, up, 0)])
            plain(r, self.name, self.activation, up, up, n, self.divisor, self.numbers)
            return up
        gate = r.floats("gate", n)
        r.linears(x, [(self.gate, gate, 0), (self.up, up, 0)])
        gated(r, self.name, self.activation, gate, up, n, self.limit, self.numbers)
        return gate

    def record(self, r: Recorder, x: Value, to: Residual) -> None:
        """Add the block to the residual stream; x: its normed input."""
        y = self.hidden(r, x)
        if self.sub_norm:
            r.norm(f"{self.name}_sub_norm", y, self.sub_norm, y, self.up.w.n)
        if self.scale_gate is None:
            r.close_linear(self.name, self.down, y, to)
            return
        n = self.down.w.n
        result, gate = r.floats(self.name, n), r.floats("gate of it", 1)
        r.linears(y, [(self.down, result, 0)])
        r.linears(x, [(self.scale_gate, gate, 0)])
        add = to.x if to.is_plain else 0
        out: Value = to.x if to.is_plain else result
        r.plan.op(
            f"{self.name}.gate", Key("activation", "multiply", ("sigmoid",)), activation.MultiplyParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, group=n, x=result, gate=gate, add=add, out=out,
        )  # fmt: skip
        if not to.is_plain:
            r.close(self.name, result, to)


@dataclass(frozen=True)
class ActivationAlone:
    """No matrices: see ExpertsSpec.used."""

    name: str
    activation: str

    def record(self, r: Recorder, x: Value, to: Residual) -> None:
        n = r.config.n_embd
        y = r.floats(self.name, n)
        plain(r, self.name, self.activation, x, y, n)
        r.close(self.name, y, to)


def plain(
    r: Recorder,
    name: str,
    function: str,
    x: Value,
    out: Value,
    n: int,
    divisor: Weight | None = None,
    numbers: Weight | None = None,
) -> None:
    """out = f(x) (/ divisor), rows of n."""
    r.plan.op(
        f"{name}.act", Key("activation", "plain", (function,)), activation.PlainParams, (r.n_rows, n),
        n_rows_at=r.rows_at, n=n, x=x, out=out, divisor=divisor.address if divisor else 0,
        numbers=numbers.address if numbers else 0,
    )  # fmt: skip


def gated(
    r: Recorder,
    name: str,
    function: str,
    gate: Value,
    up: Value,
    n: int,
    limit: float,
    numbers: Weight | None = None,
) -> None:
    """gate = f(gate) * up, rows of n."""
    r.plan.op(
        f"{name}.act", Key("activation", "gated", (function,)), activation.GatedParams, (r.n_rows, n),
        n_rows_at=r.rows_at, n=n, gate=gate, up=up, out=gate, limit=float(limit),
        numbers=numbers.address if numbers else 0,
    )  # fmt: skip


BOUNDED = {"silu": "clamped_silu", "silu_clamped": "silu_clamped"}
"""Activations that a file may bound, and what they are then: the result is bounded, or the branches are before."""


def bounded(f: LayerReader, function: str, key: str) -> tuple[str, float]:
    """The activation in a layer of a file whose `key` bounds it, and by how much."""
    clamp = f.config.keys.numbers_per_layer(key, f.config.n_block, 0.0)[f.i % f.config.n_block]
    return (BOUNDED[function], clamp) if clamp > 1e-6 else ("silu", 0.0)


def read_feed_forward(f: LayerReader, suffix: str = "", n_ff: int = 0) -> FeedForward:
    """The block whose tensors end in `suffix` (as _shexp), of n_ff hidden elements."""
    c, spec = f.config, f.spec
    up, gate, down = (f"ffn_{part}{suffix}" for part in ("up", "gate", "down"))
    n = n_ff or spec.n_ff(c, f.i)
    numbers.at_least(c.keys.place("feed_forward_length"), n)
    function, limit, divisor = spec.activation, 7.0, f.vector("ffn.act.scales", n) if not suffix else None
    if function in BOUNDED:
        key = "swiglu_clamp_shexp"
        if function == "silu_clamped" and not c.keys.has(key):
            key = "swiglu_clamp_exp"
        function, limit = bounded(f, function, key)
    gate_linear: Linear | None
    if f.has(f"{gate}.weight"):
        gate_linear, up_linear = f.linear(gate, c.n_embd, n), f.linear(up, c.n_embd, n)
    elif f.weights.shape(f.name(f"{up}.weight"))[-1] == 2 * n:
        gate_linear, up_linear = f.fused(up, (f"{gate}", f"{up}"), (n, n))
    else:
        gate_linear, up_linear = None, f.linear(up, c.n_embd, n)
    scale_gate = None
    if suffix and f.has(f"ffn_gate_inp{suffix}.weight"):
        scale_gate = f.linear(f"ffn_gate_inp{suffix}", c.n_embd, 1)
    return FeedForward(
        f"blk.{f.i}.ffn{suffix}", gate_linear, up_linear, f.linear(down, n, c.n_embd), function, limit, divisor,
        numbers_of(f, function), scale_gate,
        f.rms("ffn_sub_norm", n) if f.has("ffn_sub_norm.weight") and not suffix else None,
    )  # fmt: skip


def numbers_of(f: LayerReader, function: str) -> Weight | None:
    """Those that an activation has in this layer, if it is one that has any."""
    if function not in activation.NUMBERS:
        return None
    return f.weights.constant(f"{function} {f.i}", np.array(f.spec.activation_numbers(f.config, f.i)))

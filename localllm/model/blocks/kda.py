"""Kimi Delta Attention (arXiv 2510.26692; llama.cpp's kimi-linear.cpp, kimi-k3.cpp, bailingmoe3.cpp, glm5-next.cpp): a
gated delta-net with a decay a key channel. Queries, keys and values each have a convolution of their own; the decays'
matrix and the output gate's may be products of two thin ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gate import numbers
from localllm.model.blocks.delta_rule import (
    Decay,
    DeltaRule,
    Rows,
    read_convolution,
    read_decay,
    unit_norm,
)
from localllm.model.convolution import Convolution
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Linear, Recorder, Residual
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class Projection:
    """One matrix after the other: the first is for the block's input."""

    first: Linear
    second: Linear | None

    @property
    def n(self) -> int:
        return (self.second or self.first).w.n


@dataclass(frozen=True, eq=False)
class Kda:
    i: int
    qkv: tuple[Linear, ...]
    convs: tuple[Convolution, ...]
    """Of queries, keys and values."""
    beta: Linear
    decay: Projection
    gate: Projection
    rule: DeltaRule
    output: Linear

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent(*(conv.size for conv in self.convs), self.rule.state_floats),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        n, n_head = self.output.w.k, self.rule.n_head
        inputs, beta = [r.floats(name, n) for name in ("q", "k", "v")], r.floats("beta", n_head)
        thin = [(p, r.floats("projection", p.first.w.n)) for p in (self.decay, self.gate)]
        jobs: list[tuple[Linear, Value, Value]] = [(w, out, 0) for w, out in zip(self.qkv, inputs, strict=True)]
        r.linears(x, [*jobs, (self.beta, beta, 0), *((p.first, out, 0) for p, out in thin)])
        decay, gate = (self._second(r, p, out) for p, out in thin)
        with r.plan.stage():
            q, k, v = (
                Rows(conv.record(r, y, n, state, part), n)
                for part, (conv, y) in enumerate(zip(self.convs, inputs, strict=True))
            )
        with r.plan.stage():
            self.rule.norm_keys(r, q, n_head)
            self.rule.norm_keys(r, k, n_head)
        out = self.rule.record(r, q, k, v, beta, decay, gate, state, len(self.convs))
        r.close_linear(f"blk.{self.i}.attn_output", self.output, out, to)

    def _second(self, r: Recorder, projection: Projection, y: Buffer) -> Buffer:
        if projection.second is None:
            return y
        out = r.floats("projected", projection.n)
        r.linears(y, [(projection.second, out, 0)])
        return out


def read(f: LayerReader) -> Kda:
    c = f.config
    dim, n_head = c.keys.integer("kda.head_dim"), c.n_head[0]
    numbers.has_heads(c.keys.place("attention.head_count"), n_head, 0)
    n = n_head * dim
    eps = f.spec.kda.eps or f.eps
    rule = DeltaRule(
        name=f"blk.{f.i}.kda", n_head=n_head, n_head_k=n_head, repeat=1, dim=dim, decay=_decay(f, n_head, n),
        unit=unit_norm(f, dim, eps), norm=f.rms("ssm_norm", dim),
        gate="sigmoid",
    )  # fmt: skip
    return Kda(
        i=f.i,
        qkv=tuple(f.fused("attn_qkv", ("attn_q", "attn_k", "attn_v"), (n, n, n))),
        convs=tuple(read_convolution(f, f"ssm_conv1d_{part}", n) for part in "qkv"),
        beta=f.linear("ssm_beta", c.n_embd, n_head),
        decay=_projection(f, "ssm_f", dim, n),
        gate=_projection(f, "ssm_g", dim, n),
        rule=rule,
        output=f.linear("attn_output", n, c.n_embd),
    )


def _projection(f: LayerReader, short: str, dim: int, n: int) -> Projection:
    """Thin matrices _a and _b, or one that is named as both or as the first of them."""
    n_embd = f.config.n_embd
    if f.has(f"{short}_b.weight"):
        return Projection(f.linear(f"{short}_a", n_embd, dim), f.linear(f"{short}_b", dim, n))
    return Projection(f.linear(short if f.has(f"{short}.weight") else f"{short}_a", n_embd, n), None)


def _decay(f: LayerReader, n_head: int, n: int) -> Decay:
    """A file that has a lower bound of g has another function of it (kimi-k3.cpp)."""
    keys, name = f.config.keys, f.name("ssm_a")
    shape = (n_head,) if f.weights.shape(name) == (n_head,) else (1, n_head)
    a = f.decay_rates(*shape) if f.spec.kda.negative_a else f.weights.values(name, *shape)
    if not keys.has("kda.gate_lower_bound"):
        return read_decay(f, "softplus", a, n)
    numbers.one_of(keys.place("kda.safe_gate"), keys.flag("kda.safe_gate", True), (True,))
    bound = keys.number("kda.gate_lower_bound")
    return read_decay(f, "bounded", -a if f.spec.kda.negative_a else a, n, bound)

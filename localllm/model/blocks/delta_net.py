"""The gated delta-net of Qwen3-Next and Qwen3.5 (Yang et al. 2024, arXiv 2412.06464; llama.cpp's qwen35.cpp and
qwen3next.cpp): one convolution over queries, keys and values, a decay a head, an output gate.

Qwen3-Next's files hold rows of several roles in one matrix, in groups, a group for each head of keys; in them a head of
keys serves the value heads of its group. In Qwen3.5's files value heads are sorted so that keys repeat as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gate import numbers
from localllm.model.blocks.delta_rule import DeltaRule, Rows, read_convolution, read_decay, unit_norm
from localllm.model.convolution import Convolution
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Recorder, Residual
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True)
class Grouped:
    """A matrix of `count` groups of rows, each with the rows of all parts: (role, number of rows)."""

    linear: Linear
    count: int
    parts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class DeltaNet:
    i: int
    linears: dict[str, Linear]
    """By role: "qkv", "gate", "beta", "alpha"."""
    grouped: tuple[Grouped, ...]
    """Those for the roles that have none of their own; queries, keys and values one by one: "q", "k", "v"."""
    conv: Convolution
    rule: DeltaRule
    ssm_out: Linear

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent(self.conv.size, self.rule.state_floats),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        rule, n = self.rule, self.conv.n
        keys, values = rule.n_head_k * rule.dim, rule.n_head * rule.dim
        qkv, gate = r.floats("qkv", n), r.floats("gate", values)
        beta, alpha = r.floats("beta", rule.n_head), r.floats("alpha", rule.n_head)
        places = {
            "qkv": Rows(qkv, n), "q": Rows(qkv, n), "k": Rows(Place(qkv, keys * F32), n),
            "v": Rows(Place(qkv, 2 * keys * F32), n), "gate": Rows(gate, values), "beta": Rows(beta, rule.n_head),
            "alpha": Rows(alpha, rule.n_head),
        }  # fmt: skip
        mixed = [(one, r.floats("grouped", one.linear.w.n)) for one in self.grouped]
        jobs: list[tuple[Linear, Value, Value]] = [(w, places[role].at, 0) for role, w in self.linears.items()]
        r.linears(x, jobs + [(one.linear, out, 0) for one, out in mixed])
        with r.plan.stage():
            for one, rows in mixed:
                _spread(r, one, rows, places)
        y = self.conv.record(r, qkv, n, state, 0)
        rule.norm_keys(r, Rows(y, n), 2 * rule.n_head_k)
        q, k, v = Rows(y, n), Rows(Place(y, keys * F32), n), Rows(Place(y, 2 * keys * F32), n)
        out = rule.record(r, q, k, v, beta, alpha, gate, state, 1)
        r.close_linear(f"blk.{self.i}.ssm_out", self.ssm_out, out, to)


def _spread(r: Recorder, one: Grouped, x: Buffer, places: dict[str, Rows]) -> None:
    """Put the rows of each role where they belong."""
    group = sum(n for _, n in one.parts)
    first = 0
    for role, n in one.parts:
        to = places[role]
        name, steps = f"{one.linear.w.name}.{role}", (group * one.count, group)
        r.pieces(name, one.count, n, Place(x, first * F32), steps, to.at, (to.stride, n))
        first += n


def read(f: LayerReader) -> DeltaNet:
    c = f.config
    dim = c.keys.integer("ssm.state_size", high=1 << 12)
    n_head_k = c.keys.integer("ssm.group_count", low=1, high=1 << 12)
    n_head = c.keys.integer("ssm.time_step_rank", high=1 << 12)
    numbers.multiple(c.keys.place("ssm.time_step_rank"), n_head, n_head_k, "ssm.group_count")
    inner, wanted = c.keys.integer("ssm.inner_size"), "ssm.time_step_rank * ssm.state_size"
    numbers.same(c.keys.place("ssm.inner_size"), inner, n_head * dim, wanted)
    repeat, n = n_head // n_head_k, (2 * n_head_k + n_head) * dim
    linears, grouped = _inputs(f, n, n_head_k, repeat, dim)
    norm = f.rms("ssm_norm", dim)
    rule = DeltaRule(
        name=f"blk.{f.i}.delta_net", n_head=n_head, n_head_k=n_head_k,
        # Heads of a group follow each other where beta and alpha do.
        repeat=repeat if f.has("ssm_ba.weight") else 1, dim=dim,
        decay=read_decay(f, "softplus", f.decay_rates(n_head), n_head),
        unit=unit_norm(f, dim, f.eps), norm=norm, gate=f.spec.delta_gate,
    )  # fmt: skip
    return DeltaNet(
        f.i, linears, grouped, read_convolution(f, "ssm_conv1d", n), rule, f.linear("ssm_out", n_head * dim, c.n_embd)
    )


def _inputs(
    f: LayerReader, n: int, n_head_k: int, repeat: int, dim: int
) -> tuple[dict[str, Linear], tuple[Grouped, ...]]:
    """What the block's input goes through; n: channels of the convolution."""
    n_embd, n_head = f.config.n_embd, n_head_k * repeat
    linears: dict[str, Linear] = {}
    grouped: list[Grouped] = []
    if f.has("ssm_ba.weight"):
        w = f.linear("ssm_ba", n_embd, 2 * n_head)
        grouped.append(Grouped(w, n_head_k, (("beta", repeat), ("alpha", repeat))))
    else:
        linears |= {"beta": f.linear("ssm_beta", n_embd, n_head), "alpha": f.linear("ssm_alpha", n_embd, n_head)}
    if f.has("attn_qkv.weight") or not f.has("ssm_in.weight"):
        linears |= {"qkv": f.linear("attn_qkv", n_embd, n), "gate": f.linear("attn_gate", n_embd, n_head * dim)}
        f.weights.leave(rf"blk\.{f.i}\.ssm_in\.weight")
    else:
        w = f.linear("ssm_in", n_embd, n + n_head * dim)
        parts = ("q", dim), ("k", dim), ("v", repeat * dim), ("gate", repeat * dim)
        grouped.append(Grouped(w, n_head_k, parts))
    return linears, tuple(grouped)

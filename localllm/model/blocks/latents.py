"""What both forms of multi-head latent attention (arXiv 2405.04434) begin with: queries, latents and shared keys of a
batch (llama.cpp, deepseek2.cpp)."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gate import numbers
from localllm.model.blocks.around import Gate, Temperature, read_gate, read_temperature, require_causal
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True)
class Sizes:
    """A head's keys are `nope` elements without RoPE, then n_rot that may have it; latents have `rank`."""

    n_head: int
    nope: int
    n_rot: int
    rank: int
    v_dim: int

    @property
    def k_dim(self) -> int:
        return self.nope + self.n_rot


@dataclass(frozen=True)
class Projected:
    """q: f32 [n_rows][n_head][k_dim], RoPE applied; kv: rows of `rank` elements, normed, and n_rot without RoPE
    as yet; q_a: what q was made from."""

    q: Buffer
    kv: Buffer
    q_a: Value
    gate: Buffer | None


@dataclass(frozen=True)
class Latents:
    i: int
    sizes: Sizes
    q_a: Linear | None
    q_a_norm: Norm | None
    q: Linear
    kv_a: Linear
    kv_a_norm: Norm
    k_norm: Norm | None
    """Of the shared keys, before RoPE."""
    gate: Gate | None
    temperature: Temperature | None
    pairing: str

    def record(self, r: Recorder, x: Value, table: Buffer | None, more: list[tuple[Linear, Value, Value]]) -> Projected:
        """more: further products of x."""
        s, name = self.sizes, f"blk.{self.i}.attn"
        q, kv = r.floats("q", s.n_head * s.k_dim), r.floats("kv", s.rank + s.n_rot)
        gate = r.floats("attn_gate", self.gate.linear.w.n) if self.gate else None
        q_a = r.floats("q_a", self.q_a.w.n) if self.q_a else None
        pairs = ((self.q_a or self.q, q_a or q), (self.kv_a, kv), (self.gate.linear if self.gate else None, gate))
        r.linears(x, [(linear, out, 0) for linear, out in pairs if linear and out] + more)
        with r.plan.stage():
            if self.q_a and self.q_a_norm and q_a:
                r.norm(f"{name}_q_a_norm", q_a, self.q_a_norm, q_a, self.q_a.w.n)
            r.norm(f"{name}_kv_a_norm", kv, self.kv_a_norm, kv, s.rank, stride=s.rank + s.n_rot)
            if self.k_norm:
                at = Place(kv, s.rank * F32)
                r.norm(f"{name}_k_norm", at, self.k_norm, at, s.n_rot, stride=s.rank + s.n_rot)
        if q_a:
            r.linears(q_a, [(self.q, q, 0)])
        if table:
            r.rotate(self.pairing, Place(q, s.nope * F32), s.n_head, s.k_dim, s.n_rot, table)
        if self.temperature:
            self.temperature.record(r, q, s.n_head * s.k_dim)
        return Projected(q, kv, q_a or x, gate)


def read_latents(f: LayerReader) -> Latents:
    """Tensors as deepseek2 has them; without attn_q_a queries come from attn_q."""
    c, i, n = f.config, f.i, f.config.n_embd
    require_causal(f, "latent attention")
    n_head, k_dim, n_rot = c.n_head[i], c.n_embd_head_k[i], c.n_rot[i]
    numbers.has_heads(c.keys.place("attention.head_count"), n_head, i)
    key = "attention.kv_lora_rank"
    if c.swa_layers[i] and c.keys.has(f"{key}_swa"):
        key += "_swa"
    rank = c.keys.integer(key)
    s = Sizes(n_head, k_dim - n_rot, n_rot, rank, c.n_embd_head_v[i])
    q_a = q_a_norm = None
    if f.has("attn_q_a.weight"):
        n_q = c.keys.integer("attention.q_lora_rank")
        q_a, q_a_norm = f.linear("attn_q_a", n, n_q), f.required_norm("attn_q_a_norm", n_q)
        q = f.linear("attn_q_b", n_q, n_head * k_dim)
    else:
        q = f.linear("attn_q", n, n_head * k_dim)
    return Latents(
        i, s, q_a, q_a_norm, q, f.linear("attn_kv_a_mqa", n, rank + n_rot), f.required_norm("attn_kv_a_norm", rank),
        f.norm("attn_k_norm", n_rot) if f.has("attn_k_norm.weight") else None, read_gate(f, n_head, s.v_dim),
        read_temperature(f), "halves" if f.spec.rope == "none" else f.spec.rope,
    )  # fmt: skip

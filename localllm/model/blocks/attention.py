"""The attention block: queries, keys and values, RoPE, the cache, attention over it, the output matrix.

Cited as llama.cpp's build_qkv and build_attn (llama-graph.cpp) where the order of steps is not the papers'.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from localllm.gate import numbers
from localllm.kernels import mix
from localllm.kernels.objects import Key
from localllm.model.blocks.around import (
    Gate,
    QueryGate,
    Temperature,
    ahead_of,
    read_gate,
    read_temperature,
    window_of,
)
from localllm.model.blocks.over_cells import Chosen, OverCells
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder, Residual
from localllm.model.scores import read_scores
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place, Value


class Indexer(Protocol):
    """What chooses the cells that rows attend to; see block_sparse."""

    def states(self, options: StateOptions) -> tuple[State, ...]: ...
    def choose(self, r: Recorder, x: Value, table: Buffer | None, states: Sequence[Any]) -> Chosen | None:
        """x: the block's normed input; table: RoPE's; None: all cells."""


@dataclass(frozen=True)
class HeadNorm:
    """A norm of queries or keys: over each head with the same weights, over each with its own, or over the whole
    row."""

    norms: tuple[Norm, ...]
    n: int
    heads: int


@dataclass(frozen=True, eq=False)
class Attention:
    """One layer's attention: its weights by GGUF's names, what is None is absent, and what the spec says of it."""

    i: int
    n_head: int
    n_head_kv: int
    k_dim: int
    v_dim: int
    q: Linear
    k: Linear | None
    v: Linear | None
    """None: the keys as they come from their matrix."""
    source: Attention | None
    """Whose keys and values it attends over; None: it has its own."""
    output: Linear
    q_norm: HeadNorm | None
    k_norm: HeadNorm | None
    v_norm: HeadNorm | None
    gate: Gate | None
    q_gate: QueryGate | None
    sinks: Weight | None
    slopes: Weight | None
    """Of ALiBi, or biases by distance."""
    temperature: Temperature | None
    window: int
    """See around.window_of."""
    ahead: int
    """See around.ahead_of."""
    scale: float
    scores: str
    """What is made of the scores; see kernels.scores."""
    softcap: float
    clamp: float
    value_factor: float
    pairing: str
    """Which elements RoPE rotates together."""
    n_rot: int
    norms_after_rope: bool
    path: str
    """Of the file, for errors."""
    indexer: Indexer | None = None
    sub_norm: Norm | None = None
    """Of what goes into the output's matrix."""

    @property
    def over_cells(self) -> OverCells:
        return OverCells(
            self.i, self.n_head, self.n_head_kv, self.k_dim, self.v_dim, self.window, self.scale, self.pairing,
            self.ahead, self.scores, self.softcap, self.sinks, self.slopes,
        )  # fmt: skip

    def states(self, options: StateOptions) -> tuple[State, ...]:
        if self.source:
            return ()
        own = (self.over_cells.cells(options, self.path),)
        return own + (self.indexer.states(options) if self.indexer else ())

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        _Recorded(self, r).run(x, to, table)


class _Recorded:
    """One recording of a block."""

    def __init__(self, block: Attention, r: Recorder) -> None:
        self.block, self.r, self.i = block, r, block.i
        self.n_head, self.n_head_kv, self.k_dim, self.v_dim = block.n_head, block.n_head_kv, block.k_dim, block.v_dim
        self.cells, *self.of_indexer = r.states_of(block.source or block)

    def run(self, x: Value, to: Residual, table: Buffer | None) -> None:
        b, r = self.block, self.r
        q = r.floats("q", self.n_head * self.k_dim)
        k = r.floats("k", self.n_head_kv * self.k_dim) if b.k else None
        v = r.floats("v", self.n_head_kv * self.v_dim) if b.k else None
        gate = r.floats("attn_gate", b.gate.linear.w.n) if b.gate else None
        both = r.floats("q and gate", b.q.w.n) if b.q_gate else q
        pairs = ((b.q, both), (b.k, k), (b.v, v), (b.gate.linear if b.gate else None, gate))
        r.linears(x, [(linear, out, 0) for linear, out in pairs if linear and out])
        q_gate = r.floats("q gate", self.n_head * self.k_dim) if b.q_gate else None
        if b.q_gate and q_gate:
            b.q_gate.part(r, both, q, q_gate)
        self._clamp(q, k, v)
        if not b.norms_after_rope:
            self._norms(q, k, v)
        if b.indexer and k and v:  # a row may not choose its own cell
            r.check_kept((k, self.n_head_kv * self.k_dim), (v, self.n_head_kv * self.v_dim))
        self._rotate_and_store(q, k, v, table)
        if b.temperature:
            b.temperature.record(r, q, self.n_head * self.k_dim)
        out = r.floats("attention", self.n_head * self.v_dim)
        chosen = b.indexer.choose(r, x, table, self.of_indexer) if b.indexer else None
        b.over_cells.attend(r, self.cells, q, out, chosen)
        if b.gate and gate:
            b.gate.record(r, f"blk.{self.i}.attn_gate", out, gate, self.n_head * self.v_dim)
        if b.q_gate and q_gate:
            b.q_gate.record(r, f"blk.{self.i}.attn_q_gate", out, q_gate)
        if b.sub_norm:
            r.norm(f"blk.{self.i}.attn_sub_norm", out, b.sub_norm, out, self.n_head * self.v_dim)
        if b.value_factor != 1.0:
            to = Residual(to.x, to.post_norm, to.factor * b.value_factor)
        r.close_linear(f"blk.{self.i}.attn_output", b.output, out, to)

    def _clamp(self, q: Buffer, k: Buffer | None, v: Buffer | None) -> None:
        if not self.block.clamp:
            return
        sizes = (self.n_head * self.k_dim, self.n_head_kv * self.k_dim, self.n_head_kv * self.v_dim)
        with self.r.plan.stage():
            for x, n in zip((q, k, v), sizes, strict=True):
                if x is None:
                    continue
                self.r.plan.op(
                    "clamp", Key("mix", "clamp"), mix.ClampParams, (self.r.n_rows, n),
                    n_rows_at=self.r.rows_at, n=n, x=x, limit=float(self.block.clamp),
                )  # fmt: skip

    def _norms(self, q: Buffer, k: Buffer | None, v: Buffer | None) -> None:
        b = self.block
        if v and b.v is None:
            # The keys' own norm, in their place, comes after.
            self._norm("v", b.v_norm, k, v)
        with self.r.plan.stage():
            self._norm("q", b.q_norm, q, q)
            self._norm("k", b.k_norm, k, k)
            if b.v:
                self._norm("v", b.v_norm, v, v)

    def _norm(self, name: str, norm: HeadNorm | None, x: Buffer | None, out: Buffer | None) -> None:
        if norm is None or x is None or out is None:
            return
        row = norm.n * norm.heads * len(norm.norms)
        for head, one in enumerate(norm.norms):
            at = head * norm.n * F32
            self.r.norm(
                f"blk.{self.i}.attn_{name}_norm", Place(x, at), one, Place(out, at), norm.n, norm.heads, stride=row
            )

    def _rotate_and_store(self, q: Buffer, k: Buffer | None, v: Buffer | None, table: Buffer | None) -> None:
        """RoPE on queries and keys; keys and values go to the cache, unless they are another layer's."""
        r = self.r
        if not self.block.norms_after_rope:
            with r.plan.stage():
                if table:
                    self._rotate(q, self.n_head, table)
                if k and v:
                    n_rot = self.block.n_rot if table else 0
                    self.block.over_cells.store(r, self.cells, k, v, table or 0, n_rot)
            return
        if table:
            with r.plan.stage():
                self._rotate(q, self.n_head, table)
                if k:
                    self._rotate(k, self.n_head_kv, table)
        self._norms(q, k, v)
        if k and v:
            self.block.over_cells.store(r, self.cells, k, v, 0, 0)

    def _rotate(self, x: Buffer, heads: int, table: Buffer) -> None:
        self.r.rotate(self.block.pairing, x, heads, self.k_dim, self.block.n_rot, table)


def read(f: LayerReader) -> Attention:
    """The attention of a layer, its tensors checked. Raises FormatError or UnsupportedError naming one."""
    c, i, spec = f.config, f.i, f.spec
    n_head, n_head_kv, k_dim, v_dim = c.n_head[i], c.n_head_kv[i], c.n_embd_head_k[i], c.n_embd_head_v[i]
    for key, n in (("attention.head_count", n_head), ("attention.head_count_kv", n_head_kv)):
        numbers.has_heads(c.keys.place(key), n, i, c.keys.has(key))
    source = _source(f)
    if spec.q_gate:
        numbers.same(c.keys.place("attention.value_length"), v_dim, k_dim, "that of the gates, key_length")
    n_q = (1 + spec.q_gate) * n_head * k_dim
    q, k, v = _products(f, (n_q, n_head_kv * k_dim, n_head_kv * v_dim), source is not None)
    q_norm = _head_norm(f, "attn_q_norm", n_head, k_dim)
    k_norm = None if source else _head_norm(f, "attn_k_norm", n_head_kv, k_dim)
    v_norm = None
    if spec.value_norm and not source:
        v_norm = HeadNorm((Norm(None, None, f.eps, spec.norm),), v_dim, n_head_kv)
    if spec.qk_norm_paired and q_norm is None:
        k_norm = None
    softcap = spec.attention_softcap(c)
    scores, slopes = read_scores(f, n_head, softcap)
    return Attention(
        i=i, n_head=n_head, n_head_kv=n_head_kv, k_dim=k_dim, v_dim=v_dim,
        q=q, k=k, v=v, source=source, output=f.linear(spec.attn_output, n_head * v_dim, c.n_embd), q_norm=q_norm,
        k_norm=k_norm, v_norm=v_norm, gate=None if spec.q_gate else read_gate(f, n_head, v_dim),
        q_gate=QueryGate(n_head, k_dim) if spec.q_gate else None, sinks=f.vector("attn_sinks.weight", n_head),
        slopes=slopes, temperature=read_temperature(f), window=window_of(c, i), ahead=ahead_of(c, spec, i),
        scale=float(spec.attention_scale(c, i)), scores=scores, softcap=float(softcap),
        clamp=c.keys.number("attention.clamp_kqv", 0.0), value_factor=c.keys.number("attention.value_scale", 1.0),
        pairing="halves" if spec.rope == "none" else spec.rope, n_rot=c.n_rot[i],
        norms_after_rope=spec.qk_norm_after_rope, path=f.path,
        sub_norm=f.rms("attn_sub_norm", n_head * v_dim) if f.has("attn_sub_norm.weight") else None,
    )  # fmt: skip


def _source(f: LayerReader) -> Attention | None:
    """The earlier layer's attention whose keys and values this layer uses. Those that it has itself are passed over."""
    i = f.spec.kv_source(f.config, f.i)
    if i is None:
        return None
    (source,) = (block for block in f.earlier[i] if isinstance(block, Attention))
    c, other = f.config, (source.n_head_kv, source.k_dim, source.v_dim)
    own = c.n_head_kv[f.i], c.n_embd_head_k[f.i], c.n_embd_head_v[f.i]
    numbers.same_cells(f.place, own, i, other)
    f.weights.leave(re.escape(f.name("attn_")) + r"(k|v|k_norm)\.(weight|bias|scale)")
    return source


def _products(
    f: LayerReader, sizes: tuple[int, int, int], is_shared: bool
) -> tuple[Linear, Linear | None, Linear | None]:
    """The matrices of queries, keys and values, those that the layer needs."""
    if f.has("attn_qkv.weight"):
        q, k, v = f.fused("attn_qkv", ("attn_q", "attn_k", "attn_v"), sizes)
        return (q, None, None) if is_shared else (q, k, v)
    n = f.config.n_embd
    q = f.linear("attn_q", n, sizes[0])
    if is_shared:
        return q, None, None
    k = f.linear("attn_k", n, sizes[1])
    if f.spec.value_norm and not f.has("attn_v.weight"):
        return q, k, None
    return q, k, f.linear("attn_v", n, sizes[2])


def _head_norm(f: LayerReader, name: str, n_head: int, dim: int) -> HeadNorm | None:
    """The shape of its weights tells what a norm goes over."""
    kind, eps = f.spec.qk_norm or (f.spec.norm, f.eps)
    full = f"{name}.weight"
    if not f.has(full):
        if f.spec.qk_norm_always(f.config, f.i):
            return HeadNorm((Norm(None, None, eps, kind),), dim, n_head)
        return None
    shape = f.weights.shape(f.name(full))
    if shape == (dim,):
        return HeadNorm((Norm(f.vector(full, dim), f.vector(f"{name}.bias", dim), eps, kind),), dim, n_head)
    if shape == (dim * n_head,):
        whole = Norm(f.vector(full, *shape), f.vector(f"{name}.bias", *shape), eps, kind)
        return HeadNorm((whole,), dim * n_head, 1)
    bias = f.vector(f"{name}.bias", dim, n_head)
    if shape == (1, n_head):
        factors = f.weights.values(f.name(full), 1, n_head)
        each = [f.weights.constant(f"{f.name(full)} {h}", np.full(dim, x)) for h, x in enumerate(factors.ravel())]
    else:
        w = f.vector(full, dim, n_head)
        each = [w.part(h * dim, dim) for h in range(n_head)] if w else []
    biases = [bias.part(h * dim, dim) if bias else None for h in range(n_head)]
    return HeadNorm(tuple(Norm(w, b, eps, kind) for w, b in zip(each, biases, strict=True)), dim, 1)

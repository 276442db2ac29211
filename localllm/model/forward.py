"""The recorded forward: a transformer layer by layer, as operations of a plan.

`record_body` goes from tokens to the hidden state of every row, `record_head` from the rows whose logits are wanted to the
logits. Both read what changes from call to call from the step block. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.gguf.config import Config
from localllm.kernels import activation, attention, embed, matmul, matvec, norm, quantize, rope
from localllm.kernels.formats import module
from localllm.kernels.objects import Key
from localllm.kernels.thread import Step
from localllm.model.cache import LayerCache
from localllm.model.spec import Spec
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Plan, Value

F32 = 4
_TILE = 16
"""Rows that a matrix product takes together; a plan of one row uses matrix-vector products."""
_GROUP_OF_KIND = {"block32": 32, "super": 256}


@dataclass(frozen=True)
class Linear:
    """A matrix with its bias, if it has one."""

    w: Weight
    bias: Weight | None = None


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, by GGUF's names. What is None is absent from the file."""

    attn_norm: Weight
    attn_q: Linear
    attn_k: Linear
    attn_v: Linear
    attn_output: Linear
    ffn_norm: Weight
    ffn_gate: Linear
    ffn_up: Linear
    ffn_down: Linear
    attn_q_norm: Weight | None = None
    attn_k_norm: Weight | None = None
    post_attention_norm: Weight | None = None
    post_ffw_norm: Weight | None = None


@dataclass(frozen=True)
class Network:
    """What a forward is recorded from."""

    config: Config
    spec: Spec
    token_embd: Weight
    layers: tuple[Layer, ...]
    output_norm: Weight
    output: Linear
    frequencies: tuple[int, int]
    """Addresses of the RoPE frequencies (f64 [n_rot / 2]) of layers that see everything, and of those with a window."""


class Recorder:
    """Records operations for up to n_rows rows of a batch."""

    def __init__(self, plan: Plan, network: Network, n_rows: int, step: int, kv_type: str) -> None:
        self.plan, self.network, self.n_rows, self.step = plan, network, n_rows, step
        self.config, self.spec, self.kv_type = network.config, network.spec, kv_type
        self.rows_at = step + Step.offset("n_rows")

    # --- pieces

    def floats(self, name: str, n: int) -> Buffer:
        """A buffer of n floats a row."""
        return self.plan.buffer(name, self.n_rows * n * F32)

    def rms_norm(
        self, name: str, x: Value, w: Weight, out: Value, n: int, heads: int = 1, add: Value = 0, gather: int = 0
    ) -> None:
        self.plan.op(
            name, Key("norm", "rms"), norm.Params, (self.n_rows, heads * n),
            n_rows_at=self.rows_at, gather=gather, heads=heads, n=n, x=x, stride=heads * n * F32, w=w.address,
            eps=self.config.norm_eps, add=add, out=out, out_stride=heads * n * F32,
        )  # fmt: skip

    def linears(self, x: Value, jobs: list[tuple[Linear, Value, Value]]) -> None:
        """out = x @ w (+ bias) (+ add) for several (linear, out, add) over the same rows, which may run at the same time.

        The rows are first made ready in each form that the formats of the matrices need.
        """
        k = jobs[0][0].w.k
        product = self._matvec if self.n_rows == 1 else self._matmul
        ready: dict[str, dict[str, Value]] = {}
        kinds = [module(linear.w.module).KIND for linear, _, _ in jobs]
        with self.plan.stage():
            for kind in dict.fromkeys(kinds):
                ready[kind] = self._prepare(kind, x, k)
        with self.plan.stage():
            for (linear, out, add), kind in zip(jobs, kinds, strict=True):
                product(linear, ready[kind], out, add)

    def _prepare(self, kind: str, x: Value, k: int) -> dict[str, Value]:
        """Activations in the form that a kind of weights takes; see kernels.quantize."""
        if kind == "float":
            return {"x": x, "x_d": 0, "x_s": 0, "x_p": 0}
        group = _GROUP_OF_KIND[kind]
        rows = self._tiles() * _TILE if self.n_rows > 1 else 1
        q = self.plan.buffer(f"x q8 by {group}", rows * (k + 63) // 64 * 64)
        d = self.plan.buffer("x scales", rows * k // group * F32)
        s = self.plan.buffer("x sums", rows * k // 16 * F32)
        p: Value = self.plan.buffer("x sums in pairs", rows * k // 32 * F32) if self.n_rows > 1 else 0
        self._quantize(Key("quantize", "rows" if self.n_rows == 1 else "tiles", (group,)), x, k, q, d, s, p)
        return {"x": q, "x_d": d, "x_s": s, "x_p": p}

    def _tiles(self) -> int:
        return -(-self.n_rows // _TILE)

    def _quantize(self, key: Key, x: Value, k: int, q: Value, d: Value, s: Value, p: Value) -> None:
        self.plan.op(
            str(key), key, quantize.Params, (self.n_rows, k),
            n_rows_at=self.rows_at, k=k, x=x, stride=k * F32, q=q, d=d, s=s, p=p,
        )  # fmt: skip

    def _matvec(self, linear: Linear, x: dict[str, Value], out: Value, add: Value) -> None:
        w = linear.w
        self.plan.op(
            w.name, Key("matvec", "rows", (w.module,)), matvec.Params, (1, w.n),
            w=w.address, row_bytes=w.row_bytes, n=w.n, k=w.k, x=x["x"], x_d=x["x_d"], x_s=x["x_s"],
            bias=linear.bias.address if linear.bias else 0, add=add, out=out, step=self.step, chunk=_chunk(w),
        )  # fmt: skip

    def _matmul(self, linear: Linear, x: dict[str, Value], out: Value, add: Value) -> None:
        w = linear.w
        self.plan.op(
            w.name, Key("matmul", "tiles", (w.module,)), matmul.Params, (self.n_rows, w.n),
            n_rows_at=self.rows_at, w=w.address, row_bytes=w.row_bytes, n=w.n, k=w.k, **x,
            bias=linear.bias.address if linear.bias else 0, add=add, out=out, stride=w.n * F32, step=self.step,
        )  # fmt: skip

    # --- blocks

    def embed(self, out: Value) -> None:
        w = self.network.token_embd
        self.plan.op(
            "token_embd", Key("embed", "rows", (w.module,)), embed.Params, (self.n_rows, w.k),
            step=self.step, table=w.address, row_bytes=w.row_bytes, k=w.k, out=out,
            factor=float(self.spec.embedding_factor(self.config)),
        )  # fmt: skip

    def rope_tables(self) -> tuple[Buffer, Buffer]:
        """Cosines and sines of this batch's positions, for layers that see everything and those with a window."""
        tables = []
        with self.plan.stage():
            for address in dict.fromkeys(self.network.frequencies):
                table = self.floats("rope table", self.config.n_rot)
                self.plan.op(
                    "rope table", Key("rope", "table"), rope.TableParams, (self.n_rows, self.config.n_rot),
                    step=self.step, frequencies=address, n=self.config.n_rot // 2, scale=1.0, out=table,
                )  # fmt: skip
                tables.append(table)
        return tables[0], tables[-1]

    def attention(self, i: int, layer: Layer, x: Value, cache: LayerCache, table: Buffer) -> None:
        """Add the attention block of layer i to x."""
        c = self.config
        normed, out = self.floats("attn_norm", c.n_embd), self.floats("attention", c.n_head * c.n_embd_head_v)
        q = self.floats("q", c.n_head * c.n_embd_head_k)
        k, v = (self.floats(name, c.n_head_kv * dim) for name, dim in (("k", c.n_embd_head_k), ("v", c.n_embd_head_v)))
        self.rms_norm(f"blk.{i}.attn_norm", x, layer.attn_norm, normed, c.n_embd)
        self.linears(normed, [(layer.attn_q, q, 0), (layer.attn_k, k, 0), (layer.attn_v, v, 0)])
        with self.plan.stage():
            for name, norm_, y, heads in (("q", layer.attn_q_norm, q, c.n_head), ("k", layer.attn_k_norm, k, c.n_head_kv)):
                if norm_:
                    self.rms_norm(f"blk.{i}.attn_{name}_norm", y, norm_, y, c.n_embd_head_k, heads)
        with self.plan.stage():
            self.plan.op(
                "rope q", Key("rope", "rotate", (self.spec.rope,)), rope.RotateParams, (self.n_rows, c.n_head, c.n_embd_head_k),
                step=self.step, x=q, stride=c.n_head * c.n_embd_head_k * F32, n_head=c.n_head, head_dim=c.n_embd_head_k,
                n_rot=c.n_rot, table=table,
            )  # fmt: skip
            self.plan.op(
                "cache", Key("rope", "cache", (self.spec.rope, self.kv_type)), rope.CacheParams, (self.n_rows, c.n_head_kv),
                step=self.step, k=k, k_stride=c.n_head_kv * c.n_embd_head_k * F32, v=v,
                v_stride=c.n_head_kv * c.n_embd_head_v * F32, n_head=c.n_head_kv, k_dim=c.n_embd_head_k,
                v_dim=c.n_embd_head_v, n_rot=c.n_rot, table=table, k_cache=cache.k_address, v_cache=cache.v_address,
                n_cells=cache.n_cells,
            )  # fmt: skip
        self._attend(i, q, out, cache)
        self._add_block(f"blk.{i}.post_attention_norm", layer.attn_output, layer.post_attention_norm, out, x)

    def _attend(self, i: int, q: Buffer, out: Buffer, cache: LayerCache) -> None:
        """Few rows: the cache is cut into stretches that threads share, whose results are merged."""
        c = self.config
        few = self.n_rows <= _TILE
        split = attention.CHUNK if few else 0
        partial: Value = 0
        if few:
            n_splits = cache.n_cells // split
            partial = self.floats("attention parts", c.n_head * n_splits * attention.partial_floats(c.n_embd_head_v))
        values: dict[str, Value] = {
            "step": self.step, "q": q, "q_stride": c.n_head * c.n_embd_head_k * F32, "n_head": c.n_head,
            "n_head_kv": c.n_head_kv, "k_dim": c.n_embd_head_k, "v_dim": c.n_embd_head_v, "k_cache": cache.k_address,
            "v_cache": cache.v_address, "n_cells": cache.n_cells, "window": c.n_swa if c.swa_layers[i] else 0,
            "scale": float(self.spec.attention_scale(c)), "out": out, "out_stride": c.n_head * c.n_embd_head_v * F32,
            "block": 1 if few else _TILE, "split": split, "partial": partial,
        }  # fmt: skip
        shape = (self.n_rows, c.n_head, c.n_embd_head_v)
        queries = _queries_together(c.n_head // c.n_head_kv)
        self.plan.op(f"blk.{i}.attention", Key("attention", "cells", (self.kv_type, queries)), attention.Params, shape, **values)
        if few:
            self.plan.op(f"blk.{i}.attention merge", Key("attention", "merge"), attention.Params, shape, **values)

    def feed_forward(self, i: int, layer: Layer, x: Value) -> None:
        """Add the feed-forward block of layer i to x."""
        c = self.config
        normed, gate, up = (self.floats(n, size) for n, size in (("ffn_norm", c.n_embd), ("gate", c.n_ff), ("up", c.n_ff)))
        self.rms_norm(f"blk.{i}.ffn_norm", x, layer.ffn_norm, normed, c.n_embd)
        self.linears(normed, [(layer.ffn_gate, gate, 0), (layer.ffn_up, up, 0)])
        self.plan.op(
            f"blk.{i}.ffn_act", Key("activation", "gated", (self.spec.activation,)), activation.Params, (self.n_rows, c.n_ff),
            n_rows_at=self.rows_at, n=c.n_ff, gate=gate, up=up, out=gate,
        )  # fmt: skip
        self._add_block(f"blk.{i}.post_ffw_norm", layer.ffn_down, layer.post_ffw_norm, gate, x)

    def _add_block(self, name: str, linear: Linear, post_norm: Weight | None, y: Buffer, x: Value) -> None:
        """x += linear(y), normed on the way where the architecture does so."""
        if post_norm is None:
            self.linears(y, [(linear, x, x)])
            return
        result = self.floats(name, self.config.n_embd)
        self.linears(y, [(linear, result, 0)])
        self.rms_norm(name, result, post_norm, x, self.config.n_embd, add=x)


def _chunk(w: Weight) -> int:
    """Rows that a thread claims at a time: some 32 KB of weights, an even number."""
    return max(2, min(64, 32768 // w.row_bytes) // 2 * 2)


def _queries_together(group: int) -> int:
    """Queries of one key-value head that go through the cache together: 4, or 3 where that leaves fewer idle."""
    return 3 if -(-group // 3) * 3 < -(-group // 4) * 4 else 4


def record_body(network: Network, n_rows: int, step: int, caches: Sequence[LayerCache], hidden: int) -> Plan:
    """Tokens to hidden states, float32 [n_rows, n_embd] at address `hidden`; step: address of the step block."""
    plan = Plan(f"body of {n_rows}")
    r = Recorder(plan, network, n_rows, step, caches[0].kv_type)
    x = hidden
    r.embed(x)
    everywhere, local = r.rope_tables()
    for i, layer in enumerate(network.layers):
        r.attention(i, layer, x, caches[i], local if network.config.swa_layers[i] else everywhere)
        r.feed_forward(i, layer, x)
    return plan


def record_head(network: Network, n_rows: int, step: int, hidden: int, out_rows: int) -> Plan:
    """Hidden states of the rows whose numbers (int32) are at `out_rows` to logits, float32 [n_out, n_vocab], where the step
    says."""
    plan = Plan(f"head of {n_rows}")
    r = Recorder(plan, network, n_rows, step, "f16")
    r.rows_at = step + Step.offset("n_out")
    normed = r.floats("output_norm", network.config.n_embd)
    r.rms_norm("output_norm", hidden, network.output_norm, normed, network.config.n_embd, gather=out_rows)
    r.linears(normed, [(network.output, 0, 0)])
    return plan

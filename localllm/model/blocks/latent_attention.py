"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) in its absorbed form: the cache holds one latent a
position, and nothing else. Each head's matrix of keys goes into its query, that of values follows the weighted sum of
latents (llama.cpp, deepseek2.cpp). Files that have both matrices in one tensor have heads as other attention has;
see latent_heads.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.errors import UnsupportedError
from localllm.kernels import attention, latent_attention
from localllm.kernels.objects import Key
from localllm.model.blocks import Mixer, latent_heads
from localllm.model.blocks.around import window_of
from localllm.model.blocks.latents import Latents, read_latents
from localllm.model.heads import HeadMatrices, read_head_matrices
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, TILE, Linear, Recorder, Residual
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Place, Value

_MOST_TOGETHER = 32
"""Queries that go through a chunk of cells at a time."""
_PARTS_BYTES = 64 << 20
"""What parts of results may take, where few rows share out the cells."""


@dataclass(frozen=True, eq=False)
class LatentAttention:
    i: int
    latents: Latents
    k_b: HeadMatrices
    v_b: HeadMatrices
    output: Linear
    window: int
    """See around.window_of."""
    scale: float
    path: str
    """Of the file, for errors."""

    def states(self, options: StateOptions) -> tuple[State, ...]:
        s = self.latents.sizes
        return (Cells((Plane(1, s.rank + s.n_rot),), options, abs(self.window), f"{self.path}: layer {self.i}"),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (cells,) = r.states_of(self)
        s, name = self.latents.sizes, f"blk.{self.i}"
        made = self.latents.record(r, x, table, [])
        self._store(r, cells, made.kv, table)
        absorbed = self.k_b.record(r, made.q, s.k_dim)
        sums = r.floats("attention", s.n_head * s.rank)
        self._attend(r, cells, absorbed, Place(made.q, s.nope * F32), sums)
        out = self.v_b.record(r, sums)
        if self.latents.gate and made.gate:
            self.latents.gate.record(r, f"{name}.attn_gate", out, made.gate, s.n_head * s.v_dim)
        r.close_linear(f"{name}.attn_output", self.output, out, to)

    def _store(self, r: Recorder, cells: Cells, kv: Buffer, table: Buffer | None) -> None:
        n = self.latents.sizes.rank + self.latents.sizes.n_rot
        r.plan.op(
            "cache", Key("latent_attention", "store_rows", (self.latents.pairing, cells.kv_type)),
            latent_attention.StoreParams, (r.n_rows, n),
            step=r.step, x=kv, stride=n * F32, dim=n, n_rot=self.latents.sizes.n_rot if table else 0,
            table=table or 0, cache=cells.address(0), n_cells=cells.n_cells,
        )  # fmt: skip

    def _attend(self, r: Recorder, cells: Cells, q: Buffer, turned: Place, out: Buffer) -> None:
        """Few rows: the cache is cut into stretches that threads share, whose results are merged, unless these would
        take too much memory."""
        s = self.latents.sizes
        n_parts = s.n_head * (cells.n_cells // attention.CHUNK) * attention.partial_floats(s.rank)
        few = r.n_rows <= TILE
        is_split = few and (r.n_rows == 1 or r.n_rows * n_parts * F32 <= _PARTS_BYTES)
        together = min(_MOST_TOGETHER, latent_attention.most_together(s.rank, s.n_rot))
        shared: dict[str, Value] = {
            "step": r.step, "n_head": s.n_head, "n_cells": cells.n_cells, "window": self.window, "out": out,
            "split": attention.CHUNK if is_split else 0,
            "partial": r.floats("attention parts", n_parts) if is_split else 0,
        }  # fmt: skip
        shape = (r.n_rows, s.n_head, s.rank)
        r.plan.op(
            f"blk.{self.i}.attention", Key("latent_attention", "cells", (cells.kv_type,)), latent_attention.Params,
            shape, q=q, q_row=s.n_head * s.rank * F32, q_head=s.rank * F32, turned=turned,
            turned_row=s.n_head * s.k_dim * F32, turned_head=s.k_dim * F32, dim=s.rank, n_rot=s.n_rot,
            cache=cells.address(0), scale=self.scale, block=1 if few else TILE, group=min(s.n_head, together),
            together=together, **shared,
        )  # fmt: skip
        if is_split:
            unused: dict[str, Value] = dict.fromkeys(attention.Params.fields, 0)
            more: dict[str, Value] = {"v_dim": s.rank, "out_stride": s.n_head * s.rank * F32}
            r.plan.op(
                f"blk.{self.i}.merge", Key("attention", "merge"), attention.Params, shape, **(unused | shared | more)
            )


def read(f: LayerReader) -> Mixer:
    if f.has("attn_kv_b.weight"):
        return latent_heads.read(f)
    latents = read_latents(f)
    s = latents.sizes
    if latent_attention.most_together(s.rank, s.n_rot) < 1:
        raise UnsupportedError(
            f"{f.path}: layer {f.i}: latents of {s.rank} and keys of {s.n_rot} elements are more than scratch can hold"
        )
    if s.nope < 1:
        raise UnsupportedError(
            f"{f.path}: layer {f.i}: keys of {s.k_dim} elements, {s.n_rot} of which turn, leave none for the latents"
        )
    return LatentAttention(
        f.i, latents, read_head_matrices(f, "attn_k_b", s.nope, s.rank, s.n_head),
        read_head_matrices(f, "attn_v_b", s.rank, s.v_dim, s.n_head),
        f.linear("attn_output", s.n_head * s.v_dim, f.config.n_embd), window_of(f.config, f.i),
        float(f.spec.attention_scale(f.config, f.i)), f.path,
    )  # fmt: skip

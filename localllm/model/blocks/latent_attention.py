"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) in its absorbed form: the cache holds one latent a
position, and nothing else. Each head's matrix of keys goes into its query, that of values follows the weighted sum of
latents (llama.cpp, deepseek2.cpp). Files that have both matrices in one tensor have heads as other attention has;
see latent_heads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from localllm.gate import tensors
from localllm.kernels import attention, latent_attention
from localllm.kernels.objects import Key
from localllm.model.blocks import Mixer, latent_heads
from localllm.model.blocks.around import window_of
from localllm.model.blocks.latents import Latents, Projected, read_latents
from localllm.model.blocks.lightning_indexer import LightningIndexer, read_indexer
from localllm.model.heads import HeadMatrices, read_head_matrices
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, TILE, Linear, Recorder, Residual
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place, Value

_MAX_TOGETHER = 32
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
    indexer: LightningIndexer | None = None
    """What chooses the cells that a row attends to; None: all, or those of `source`."""
    source: LatentAttention | None = None
    """The earlier layer whose choice is used."""
    sinks: Weight | None = None

    def states(self, options: StateOptions) -> tuple[State, ...]:
        s = self.latents.sizes
        cells = Cells((Plane(1, s.rank + s.n_rot),), options, abs(self.window), f"{self.path}: layer {self.i}")
        keys = self.indexer.cells(options) if self.indexer else None
        return (cells, keys) if keys else (cells,)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        cells, *keys = r.states_of(self)
        s, name = self.latents.sizes, f"blk.{self.i}"
        made, chosen = self._project(r, x, table, keys)
        if chosen:
            r.check_kept((made.kv, s.rank + s.n_rot))
        self._store(r, cells, made.kv, table)
        absorbed = self.k_b.record(r, made.q, s.k_dim)
        sums = r.floats("attention", s.n_head * s.rank)
        self._attend(r, cells, absorbed, Place(made.q, s.nope * F32), sums, chosen)
        out = self.v_b.record(r, sums)
        if self.latents.gate and made.gate:
            self.latents.gate.record(r, f"{name}.attn_gate", out, made.gate, s.n_head * s.v_dim)
        r.close_linear(f"{name}.attn_output", self.output, out, to)

    def _project(
        self, r: Recorder, x: Value, table: Buffer | None, keys: list[Cells]
    ) -> tuple[Projected, Buffer | None]:
        """Queries and latents, and the cells that each row attends to, where not all; keys: the indexer's, if it is
        needed."""
        if self.source:
            has_chosen = len(r.states_of(self.source)) > 1
            return self.latents.record(r, x, table, []), r.once(self.source, _nothing) if has_chosen else None
        if not (self.indexer and keys):
            return self.latents.record(r, x, table, []), None
        indexer = self.indexer
        products, jobs = indexer.products(r)
        made = self.latents.record(r, x, table, jobs)
        return made, r.once(self, lambda: indexer.choose(r, keys[0], products, made.q_a, table))

    def _store(self, r: Recorder, cells: Cells, kv: Buffer, table: Buffer | None) -> None:
        n = self.latents.sizes.rank + self.latents.sizes.n_rot
        r.plan.op(
            "cache", Key("latent_attention", "store_rows", (self.latents.pairing, cells.kv_type)),
            latent_attention.StoreParams, (r.n_rows, n),
            step=r.step, x=kv, stride=n * F32, dim=n, n_rot=self.latents.sizes.n_rot if table else 0,
            table=table or 0, cache=cells.address(0), n_cells=cells.n_cells,
        )  # fmt: skip

    def _attend(self, r: Recorder, cells: Cells, q: Buffer, rotated: Place, out: Buffer, chosen: Buffer | None) -> None:
        """Few rows: the cache is cut into stretches that threads share, whose results are merged, unless these would
        take too much memory."""
        s, by = self.latents.sizes, (self.source or self).indexer
        top_k = by.top_k if by and chosen else 0
        n_splits = -(-(top_k or cells.n_cells) // attention.CHUNK)
        n_parts = s.n_head * n_splits * attention.partial_floats(s.rank)
        is_split = r.n_rows <= TILE and (r.n_rows == 1 or r.n_rows * n_parts * F32 <= _PARTS_BYTES)
        together = min(_MAX_TOGETHER, latent_attention.max_together(s.rank, s.n_rot))
        values: dict[str, Value] = {
            "step": r.step, "q": q, "q_row": s.n_head * s.rank * F32, "q_head": s.rank * F32, "rotated": rotated,
            "rotated_row": s.n_head * s.k_dim * F32, "rotated_head": s.k_dim * F32, "n_head": s.n_head, "dim": s.rank,
            "n_rot": s.n_rot, "cache": cells.address(0), "n_cells": cells.n_cells, "window": self.window,
            "chosen": chosen or 0, "top_k": top_k, "scale": self.scale, "out": out,
            "block": max(1, together // s.n_head), "group": min(s.n_head, together), "together": together,
            "split": attention.CHUNK if is_split else 0,
            "partial": r.floats("attention parts", n_parts) if is_split else 0,
            "sinks": self.sinks.address if self.sinks else 0,
        }  # fmt: skip
        name, shape = f"blk.{self.i}", (r.n_rows, s.n_head, s.rank)
        key = Key("latent_attention", "cells", (cells.kv_type,))
        r.plan.op(f"{name}.attention", key, latent_attention.Params, shape, **values)
        if is_split:
            r.plan.op(f"{name}.merge", Key("latent_attention", "merge"), latent_attention.Params, shape, **values)


def _nothing() -> Buffer:
    raise LookupError("cells that an earlier layer has not chosen")


def read(f: LayerReader) -> Mixer:
    if f.has("attn_kv_b.weight"):
        return latent_heads.read(f)
    latents = read_latents(f)
    s = latents.sizes
    tensors.fits_scratch(
        f.place, latent_attention.max_together(s.rank, s.n_rot) >= 1,
        f"latents of {s.rank} and keys of {s.n_rot} elements",
    )  # fmt: skip
    source = _source(f)
    return LatentAttention(
        f.i, latents, read_head_matrices(f, "attn_k_b", s.nope, s.rank, s.n_head),
        read_head_matrices(f, "attn_v_b", s.rank, s.v_dim, s.n_head),
        f.linear("attn_output", s.n_head * s.v_dim, f.config.n_embd), window_of(f.config, f.i),
        float(f.spec.attention_scale(f.config, f.i)), f.path, None if source else _indexer(f, latents), source,
        f.vector("attn_sinks.weight", s.n_head),
    )  # fmt: skip


def _source(f: LayerReader) -> LatentAttention | None:
    """The earlier layer whose choice of cells this one uses. An indexer that it has itself is passed over."""
    i = f.spec.choice_source(f.config, f.i)
    if i is None:
        return None
    f.weights.leave(re.escape(f.name("indexer.")) + r".*")
    source = next((block for block in f.earlier[i] if isinstance(block, LatentAttention)), None)
    has_indexer = source is not None and source.indexer is not None
    tensors.supported(f.place, has_indexer, f"uses the choice of layer {i}, which has no indexer over latents")
    return source


def _indexer(f: LayerReader, latents: Latents) -> LightningIndexer | None:
    spec = f.spec.indexer(f.config, f.i)
    if spec is None:
        return None
    tensors.supported(f.place, latents.q_a is not None, "an indexer without attn_q_a")
    assert latents.q_a is not None
    return read_indexer(f, latents.q_a.w.n, latents.sizes.n_rot, spec)

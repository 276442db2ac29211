"""Attention of heads over cells of keys and values: writing to the cache and attending over it."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.kernels import attention, rope
from localllm.kernels.objects import Key
from localllm.model.recorder import F32, TILE, Recorder
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.state import StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Chosen:
    """Blocks of `size` cells that rows attend to: u8 [n_rows][n_lists][n_blocks], 1 or 0; n_lists: 1, or n_head_kv."""

    flags: Buffer
    n_lists: int
    size: int
    n_blocks: int


@dataclass(frozen=True)
class OverCells:
    i: int
    n_head: int
    n_head_kv: int
    k_dim: int
    v_dim: int
    window: int
    """See around.window_of."""
    scale: float
    pairing: str
    ahead: int = 0
    """See around.ahead_of."""
    scores: str = "plain"
    softcap: float = 0.0
    sinks: Weight | None = None
    slopes: Weight | None = None

    def cells(self, options: StateOptions, path: str) -> Cells:
        planes = Plane(self.n_head_kv, self.k_dim, tiled=True), Plane(self.n_head_kv, self.v_dim)
        # Where a row sees what follows it, a sequence is one batch, and all of it is kept.
        return Cells(planes, options, 0 if self.ahead else abs(self.window), f"{path}: layer {self.i}")

    def store(self, r: Recorder, cells: Cells, k: Buffer, v: Buffer, table: Value, n_rot: int) -> None:
        """Turn keys and store them, and the values."""
        heads = self.n_head_kv
        r.plan.op(
            "cache", Key("rope", "cache", (self.pairing, cells.kv_type)), rope.CacheParams, (r.n_rows, heads),
            step=r.step, k=k, k_stride=heads * self.k_dim * F32, v=v, v_stride=heads * self.v_dim * F32, n_head=heads,
            k_dim=self.k_dim, v_dim=self.v_dim, n_rot=n_rot, table=table, k_cache=cells.address(0),
            v_cache=cells.address(1), n_cells=cells.n_cells,
        )  # fmt: skip

    def attend(self, r: Recorder, cells: Cells, q: Buffer, out: Buffer, chosen: Chosen | None = None) -> None:
        """Few rows: the cache is cut into stretches that threads share, whose results are merged. chosen: which blocks
        are attended to, if not all."""
        v_dim, few = self.v_dim, r.n_rows <= TILE
        split = attention.CHUNK if few else 0
        partial: Value = 0
        if few:
            n_splits = cells.n_cells // split
            partial = r.floats("attention parts", self.n_head * n_splits * attention.partial_floats(v_dim))
        values: dict[str, Value] = {
            "step": r.step, "q": q, "q_stride": self.n_head * self.k_dim * F32, "n_head": self.n_head,
            "n_head_kv": self.n_head_kv, "k_dim": self.k_dim, "v_dim": v_dim, "k_cache": cells.address(0),
            "v_cache": cells.address(1), "n_cells": cells.n_cells, "window": self.window, "ahead": self.ahead,
            "scale": self.scale, "out": out, "out_stride": self.n_head * v_dim * F32,
            "block": 1 if few else TILE, "split": split, "partial": partial,
            "sinks": self.sinks.address if self.sinks else 0, "cap": self.softcap,
            "slopes": self.slopes.address if self.slopes else 0, "chosen": chosen.flags if chosen else 0,
            "n_lists": chosen.n_lists if chosen else 0, "size": chosen.size if chosen else 0,
            "n_blocks": chosen.n_blocks if chosen else 0,
        }  # fmt: skip
        shape = (r.n_rows, self.n_head, v_dim)
        key: tuple[str | int, ...] = (cells.kv_type, attention.together(self.n_head // self.n_head_kv, few))
        scores = "blocks" if chosen else self.scores
        if scores != "plain":
            key += (scores,)
        r.plan.op(f"blk.{self.i}.attention", Key("attention", "cells", key), attention.Params, shape, **values)
        if few:
            r.plan.op(f"blk.{self.i}.merge", Key("attention", "merge"), attention.Params, shape, **values)

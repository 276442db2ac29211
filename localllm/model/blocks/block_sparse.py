"""Attention over a few blocks of cells, which an indexer chooses (MiniMax-M3's model card; llama.cpp's minimax-m3.cpp).

The indexer has a small head for each key-value head and one key a cell; see kernels/block_choice.py. While a row has no
more blocks than it may choose, it attends to all, as it would without an indexer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from localllm.gate import numbers
from localllm.kernels import attention as attention_kernel
from localllm.kernels import block_choice, rope
from localllm.kernels.objects import Key
from localllm.model.blocks import attention
from localllm.model.blocks.around import require_causal
from localllm.model.blocks.over_cells import Chosen
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class Indexer:
    i: int
    n_head: int
    dim: int
    q: Linear
    k: Linear
    q_norm: Norm
    k_norm: Norm
    size: int
    """Cells of a block."""
    top_k: int
    """Blocks that are chosen."""
    local: int
    """The row's own block, and those just before it, that are chosen whatever they score."""
    pairing: str
    n_rot: int
    path: str

    def states(self, options: StateOptions) -> tuple[State, ...]:
        name = f"{self.path}: indexer of layer {self.i}"
        return (Cells((Plane(1, self.dim, tiled=True),), options, name=name),)

    def choose(self, r: Recorder, x: Value, table: Buffer | None, states: Sequence[Any]) -> Chosen | None:
        """Store the keys of the rows of x; the blocks that each attends to, or None where no row has too many."""
        (cells,) = states
        self._store_keys(r, x, table, cells)
        if self.top_k * self.size >= cells.n_cells:
            return None
        return self._best(r, self._queries(r, x, table), cells)

    def _store_keys(self, r: Recorder, x: Value, table: Buffer | None, cells: Cells) -> None:
        k = r.floats("indexer.k", self.dim)
        r.linears(x, [(self.k, k, 0)])
        r.norm(f"blk.{self.i}.indexer.k_norm", k, self.k_norm, k, self.dim)
        r.check_kept((k, self.dim))
        # Keys alone: values of no elements.
        r.plan.op(
            "cache", Key("rope", "cache", (self.pairing, cells.kv_type)), rope.CacheParams, (r.n_rows, 1),
            step=r.step, k=k, k_stride=self.dim * F32, v=k, v_stride=0, n_head=1, k_dim=self.dim, v_dim=0,
            n_rot=self.n_rot if table else 0, table=table or 0, k_cache=cells.address(0), v_cache=0,
            n_cells=cells.n_cells,
        )  # fmt: skip

    def _queries(self, r: Recorder, x: Value, table: Buffer | None) -> Buffer:
        row = self.n_head * self.dim
        q = r.floats("indexer.q", row)
        r.linears(x, [(self.q, q, 0)])
        r.norm(f"blk.{self.i}.indexer.q_norm", q, self.q_norm, q, self.dim, self.n_head)
        if table:
            r.rotate(self.pairing, q, self.n_head, self.dim, self.n_rot, table)
        return q

    def _best(self, r: Recorder, q: Buffer, cells: Cells) -> Chosen:
        n_blocks = -(-cells.n_cells // (16 * self.size)) * 16
        scores, n_flags = r.floats("indexer.scores", self.n_head * n_blocks), r.n_rows * self.n_head * n_blocks
        chosen = r.plan.buffer("indexer.chosen", n_flags)
        shared: dict[str, Value] = {
            "step": r.step, "n_head": self.n_head, "size": self.size, "n_blocks": n_blocks, "top_k": self.top_k,
            "local": self.local,
        }  # fmt: skip
        key = Key("block_choice", "scores", (cells.kv_type, attention_kernel.together(self.n_head, few=True)))
        r.plan.op(
            f"blk.{self.i}.indexer.scores", key, block_choice.ScoreParams, (r.n_rows, self.n_head, n_blocks),
            q=q, dim=self.dim, keys=cells.address(0), n_cells=cells.n_cells, out=scores, **shared,
        )  # fmt: skip
        r.plan.op(
            f"blk.{self.i}.indexer.choice", Key("block_choice", "choose"), block_choice.ChooseParams,
            (r.n_rows, self.n_head, n_blocks), scores=scores, out=chosen, **shared,
        )  # fmt: skip
        return Chosen(chosen, self.n_head, self.size, n_blocks)


def read(f: LayerReader) -> attention.Attention:
    require_causal(f, "attention over blocks of cells")
    block, keys = attention.read(f), f.config.keys
    n = keys.integer("attention.indexer.head_count")
    numbers.same(keys.place("attention.indexer.head_count"), n, block.n_head_kv, "head_count_kv")
    dim = keys.integer("attention.indexer.key_length", low=max(1, block.n_rot))
    return replace(
        block,
        indexer=Indexer(
            f.i, n, dim, f.linear("indexer.q_proj", f.config.n_embd, n * dim),
            f.linear("indexer.k_proj", f.config.n_embd, dim), f.rms("indexer.q_norm", dim),
            f.rms("indexer.k_norm", dim),
            size=keys.integer("attention.indexer.block_size"),
            top_k=keys.integer("attention.indexer.top_k", low=1),
            local=keys.integer("attention.indexer.local_blocks"),
            pairing=block.pairing, n_rot=block.n_rot, path=f.path,
        ),
    )  # fmt: skip

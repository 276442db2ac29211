"""Attention that is sparse by groups of cells (Qwen 3.8 Flash Next; llama.cpp's qwen4exp.cpp): an indexer has one key
for each group, the mean of its positions' keys, normed, with RoPE at the first position. A row attends to the groups
with the greatest sums of positive scores, and to the one that has only begun.

llama.cpp fills its budget of cells up with some of the next group; here, as in the model's own code, groups are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from localllm.gate import numbers
from localllm.kernels import block_choice, indexer
from localllm.kernels.objects import Key
from localllm.model.blocks import attention
from localllm.model.blocks.around import require_causal
from localllm.model.blocks.compressor import Compressor, Jobs
from localllm.model.blocks.over_cells import Chosen
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Linear, Norm, Recorder
from localllm.model.rope import Rope, full_rope
from localllm.model.states.cells import MAX_ROWS, Cells
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class GroupIndexer:
    i: int
    n_head: int
    q: Linear
    q_norm: Norm
    keys: Compressor
    ones: Weight
    """Weights of the heads' scores, for each row of a batch."""
    top_k: int
    """Groups that are chosen."""
    rotation: Rope | None
    """Of the keys."""
    pairing: str
    n_rot: int
    path: str

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return self.keys.states(options, f"{self.path}: indexer of layer {self.i}", True)

    def choose(self, r: Recorder, x: Value, table: Buffer | None, states: Sequence[Any]) -> Chosen | None:
        parts, keys = states
        jobs: Jobs = []
        made = self.keys.project(r, jobs)
        r.linears(x, jobs)
        self.keys.record(r, made, parts, keys, self.rotation)
        if self.top_k >= keys.n_cells:
            return None
        return self._best(r, self._queries(r, x, table), keys)

    def _queries(self, r: Recorder, x: Value, table: Buffer | None) -> Buffer:
        dim, row = self.keys.dim, self.n_head * self.keys.dim
        q = r.floats("indexer.q", row)
        r.linears(x, [(self.q, q, 0)])
        r.norm(f"blk.{self.i}.indexer.q_norm", q, self.q_norm, q, dim, self.n_head)
        if table:
            r.rotate(self.pairing, q, self.n_head, dim, self.n_rot, table)
        return q

    def _best(self, r: Recorder, q: Buffer, keys: Cells) -> Chosen:
        # One more than there are whole groups: the one that has only begun.
        n_blocks = keys.n_cells + 1
        scores, chosen = r.floats("indexer.scores", keys.n_cells), r.plan.buffer("chosen", r.n_rows * n_blocks)
        r.plan.op(
            f"blk.{self.i}.indexer.scores",
            Key("indexer", "scores", (keys.kv_type, indexer.heads_together(self.n_head))), indexer.ScoreParams,
            (r.n_rows, keys.n_cells),
            step=r.step, q=q, n_head=self.n_head, dim=self.keys.dim, weights=self.ones.address, keys=keys.address(0),
            n_keys=keys.n_cells, ratio=keys.ratio, top_k=self.top_k, out=scores,
        )  # fmt: skip
        r.plan.op(
            f"blk.{self.i}.indexer.choice", Key("block_choice", "groups"), block_choice.GroupsParams,
            (r.n_rows, n_blocks),
            step=r.step, scores=scores, n_keys=keys.n_cells, size=keys.ratio, n_blocks=n_blocks, top_k=self.top_k,
            out=chosen,
        )  # fmt: skip
        return Chosen(chosen, 1, keys.ratio, n_blocks)


def read(f: LayerReader) -> attention.Attention:
    require_causal(f, "attention over groups of cells")
    c, block = f.config, attention.read(f)
    ratio = c.keys.per_layer("attention.compress_ratios", c.n_block, 0, high=64)[f.i]
    if not ratio:
        f.weights.leave(rf"blk\.{f.i}\.indexer\..*")
        return block
    n_head = c.keys.integer("attention.indexer.head_count")
    dim = c.keys.integer("attention.indexer.key_length", low=max(1, block.n_rot))
    top_k = c.keys.integer("attention.indexer.top_k", low=1)
    numbers.multiple(c.keys.place("attention.indexer.top_k"), top_k, ratio, "compress_ratios")
    keys = Compressor(
        f.name("indexer.k"), f.linear("indexer.k_proj", c.n_embd, dim), None,
        f.weights.constant(f"no scores of {ratio} by {dim}", np.zeros(ratio * (dim + 16))),
        f.rms("indexer.k_norm", dim), dim, ratio, n_rot=block.n_rot, pairing=block.pairing,
    )  # fmt: skip
    return replace(
        block,
        indexer=GroupIndexer(
            f.i, n_head, f.linear("indexer.q_proj", c.n_embd, n_head * dim), f.rms("indexer.q_norm", dim), keys,
            f.weights.constant(f"ones for {n_head} heads", np.ones(MAX_ROWS * n_head)), top_k // ratio,
            full_rope(c, f.spec, block.n_rot) if block.n_rot else None, block.pairing, block.n_rot, f.path,
        ),
    )  # fmt: skip

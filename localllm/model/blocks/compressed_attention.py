"""DeepSeek-V4's attention (llama.cpp's deepseek4.cpp). All heads share one key a position, which is the value, too. A
row sees the last few positions, and beside them entries that stand for groups of positions (`compressor`): of every 128
all, of every 4 those that an indexer chooses. The result is rotated back by the row's position, and goes out by a
matrix for each group of heads and one for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers, tensors
from localllm.kernels import expanded, joined_attention
from localllm.kernels.objects import Key
from localllm.model.blocks.around import require_causal
from localllm.model.blocks.compressor import Compressor, Indexer, read_compressor, read_indexer, store
from localllm.model.heads import HeadMatrices
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, TILE, Linear, Norm, Recorder, Residual
from localllm.model.rope import NO_SCALING, Rope, frequencies
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place, Value

_TOGETHER = 32
"""Heads of a unit of work where there are many rows."""


@dataclass(frozen=True, eq=False)
class CompressedAttention:
    i: int
    n_head: int
    dim: int
    n_rot: int
    window: int
    q_a: Linear
    q_a_norm: Norm
    q_b: Linear
    q_norm: Norm
    """Of each head, without weights."""
    kv: Linear
    kv_norm: Norm
    sinks: Weight
    output_a: HeadMatrices
    output_b: Linear
    compressor: Compressor | None
    indexer: Indexer | None
    rotation: Rope
    inverse: Rope
    path: str
    """Of the file, for errors."""

    def states(self, options: StateOptions) -> tuple[State, ...]:
        name = f"{self.path}: layer {self.i}"
        cells = Cells((Plane(1, self.dim),), options, self.window, name)
        of_entries = self.compressor.states(options, name, False) if self.compressor else ()
        return cells, *of_entries, *(self.indexer.compressor.states(options, name, True) if self.indexer else ())

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        cells, *more = r.states_of(self)
        name, row = f"blk.{self.i}.attn", self.n_head * self.dim
        table = self._table(r, self.rotation)
        q_a, kv, q = r.floats("q_a", self.q_a.w.n), r.floats("kv", self.dim), r.floats("q", row)
        jobs: list[tuple[Linear, Value, Value]] = [(self.q_a, q_a, 0), (self.kv, kv, 0)]
        made = self.compressor.project(r, jobs) if self.compressor else None
        of_indexer = self.indexer.project(r, jobs) if self.indexer else None
        r.linears(x, jobs)
        with r.plan.stage():
            r.norm(f"{name}_q_a_norm", q_a, self.q_a_norm, q_a, self.q_a.w.n)
            r.norm(f"{name}_kv_a_norm", kv, self.kv_norm, kv, self.dim)
        later: list[tuple[Linear, Value, Value]] = [(self.q_b, q, 0)]
        index_q = self.indexer.queries(r, later) if self.indexer else None
        r.linears(q_a, later)
        r.norm(f"{name}_q_norm", q, self.q_norm, q, self.dim, self.n_head)
        with r.plan.stage():
            self._rotate(r, q, table)
            store(r, cells, 0, kv, self.dim, self.n_rot, table)
        if self.compressor and made:
            self.compressor.record(r, made, more[0], more[1], self.rotation)
        chosen, top_k = None, 0
        if self.indexer and of_indexer and index_q:
            self.indexer.compressor.record(r, of_indexer.made, more[2], more[3], self.rotation)
            if top_k := self.indexer.n_chosen(more[3].n_cells):
                chosen = self.indexer.choose(r, index_q, of_indexer.weights, more[3], top_k, table)
        out = r.floats("attention", row)
        self._attend(r, q, cells, more[1] if more else None, chosen, top_k, out)
        self._rotate(r, out, self._table(r, self.inverse))
        r.close_linear(f"{name}_output_b", self.output_b, self.output_a.record(r, out), to)

    def _table(self, r: Recorder, of: Rope) -> Buffer:
        return r.once(("rope table", of.frequencies.tobytes()), lambda: r.rope_table(of))

    def _rotate(self, r: Recorder, x: Buffer, table: Buffer) -> None:
        place = Place(x, (self.dim - self.n_rot) * F32)
        r.rotate("adjacent", place, self.n_head, self.dim, self.n_rot, table)

    def _attend(
        self,
        r: Recorder,
        q: Buffer,
        cells: Cells,
        entries: Cells | None,
        chosen: Buffer | None,
        top_k: int,
        out: Buffer,
    ) -> None:
        stride = self.n_head * self.dim * F32
        r.plan.op(
            f"blk.{self.i}.attention", Key("joined_attention", "heads", (cells.kv_type,)), joined_attention.Params,
            (r.n_rows, self.n_head, self.dim),
            step=r.step, q=q, q_stride=stride, n_head=self.n_head, dim=self.dim, cells=cells.address(0),
            n_cells=cells.n_cells, window=self.window, entries=entries.address(0) if entries else 0,
            n_entries=entries.n_cells if entries else 0, ratio=entries.ratio if entries else 0, members=1,
            chosen=chosen or 0, top_k=top_k, scale=self.dim**-0.5, sinks=self.sinks.address, out=out,
            out_stride=stride, group=heads_of_unit(r, self.dim),
        )  # fmt: skip


def heads_of_unit(r: Recorder, dim: int) -> int:
    """For the kernel that has a row's heads share its cells: few where few rows must be work for all threads."""
    few = expanded.queries_at_once() if r.n_rows <= TILE else _TOGETHER
    return min(few, joined_attention.max_heads(dim))


def read(f: LayerReader) -> CompressedAttention:
    require_causal(f, "attention over compressed entries")
    c, i, n = f.config, f.i, f.config.n_embd
    n_head, dim, n_rot = c.n_head[i], c.n_embd_head_k[i], c.n_rot[i]
    numbers.has_heads(c.keys.place("attention.head_count"), n_head, i)
    numbers.same(c.keys.place("attention.value_length"), c.n_embd_head_v[i], dim, "that of keys")
    tensors.fits_scratch(f.place, joined_attention.max_heads(dim) >= 1, f"heads of {dim} elements")
    rank = c.keys.integer("attention.q_lora_rank")
    ratio = c.keys.per_layer("attention.compress_ratios", c.n_block)[i]
    frequencies = _frequencies(f, ratio, n_rot)
    groups = c.keys.integer("attention.output_group_count", high=n_head)
    numbers.divides(c.keys.place("attention.output_group_count"), groups, ("head_count", n_head))
    o_rank = c.keys.integer("attention.output_lora_rank")
    return CompressedAttention(
        i=i, n_head=n_head, dim=dim, n_rot=n_rot,
        window=c.keys.integer("attention.sliding_window", low=1),
        q_a=f.linear("attn_q_a", n, rank), q_a_norm=f.required_norm("attn_q_a_norm", rank),
        q_b=f.linear("attn_q_b", rank, n_head * dim), q_norm=Norm(None, None, f.eps, "rms"),
        kv=f.linear("attn_kv", n, dim), kv_norm=f.required_norm("attn_kv_a_norm", dim),
        sinks=f.weights.vector(f.name("attn_sinks.weight"), n_head),
        output_a=_output_a(f, n_head * dim // groups, o_rank, groups),
        output_b=f.linear("attn_output_b", groups * o_rank, n),
        compressor=read_compressor(f, "attn_compressor", dim, ratio) if ratio else None,
        indexer=read_indexer(f, rank, ratio, n_rot) if ratio == _CHOSEN else None,
        rotation=Rope(frequencies, 1.0), inverse=Rope(-frequencies, 1.0), path=f.path,
    )  # fmt: skip


_CHOSEN, _WHOLE = 4, 128
"""Positions of an entry, where an indexer chooses, and where all are seen (deepseek4.cpp knows no others)."""


def _frequencies(f: LayerReader, ratio: int, n_rot: int) -> np.ndarray:
    """Layers with entries have a base of their own, and the file's scaling, which changes no magnitudes."""
    c = f.config
    numbers.one_of(c.keys.place("attention.compress_ratios", f", layer {f.i}"), ratio, (0, _CHOSEN, _WHOLE))
    if not ratio:
        return frequencies(c, f.spec, c.rope_freq_base, n_rot, NO_SCALING)
    return frequencies(c, f.spec, c.keys.real("attention.compress_rope_freq_base"), n_rot, c.scaling)


def _output_a(f: LayerReader, k: int, n: int, groups: int) -> HeadMatrices:
    """Converters write the groups' matrices as one."""
    name = f.name("attn_output_a.weight")
    if len(f.weights.shape(name)) == 2:
        return HeadMatrices(f.weights.matrix(name, k, n * groups), groups, n)
    return HeadMatrices(f.weights.matrices(name, k, n, groups), groups, n)

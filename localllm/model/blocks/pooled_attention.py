"""Latent attention without RoPE, sparse by groups (GLM 5.3; llama.cpp's glm5-next.cpp). An indexer has
one key for each group of neighbouring positions (see kernels.compress); a row sees the positions of the groups with the
greatest scores, and those of the group that has only begun. A layer may share the choice of one before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gate import numbers, tensors
from localllm.gguf.config import Config
from localllm.kernels import joined_attention
from localllm.kernels.objects import Key
from localllm.model.blocks.compressed_attention import heads_of_unit
from localllm.model.blocks.compressor import Compressor, Indexer, Jobs, Projected, read_ape, store
from localllm.model.blocks.latents import Latents, read_latents
from localllm.model.heads import HeadMatrices, read_head_matrices
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder, Residual
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class PooledAttention:
    i: int
    latents: Latents
    k_b: HeadMatrices
    v_b: HeadMatrices
    output: Linear
    scale: float
    ratio: int
    """Positions of a group."""
    top_k: int
    """Groups that are chosen."""
    indexer: Indexer | None
    chooser: int
    """The layer whose indexer chooses: this one, or one before it."""
    path: str
    """Of the file, for errors."""

    def states(self, options: StateOptions) -> tuple[State, ...]:
        name = f"{self.path}: layer {self.i}"
        cells = Cells((Plane(1, self.latents.sizes.rank),), options, 0, name)
        return cells, *(self.indexer.compressor.states(options, name, True) if self.indexer else ())

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        cells, *more = r.states_of(self)
        s = self.latents.sizes
        jobs: Jobs = []
        projected = self.indexer.project(r, jobs) if self.indexer else None
        made = self.latents.record(r, x, None, jobs)
        r.check_kept((made.kv, s.rank))
        store(r, cells, 0, made.kv, s.rank)
        if self.indexer and projected:
            self.indexer.compressor.record(r, projected.made, more[0], more[1])
        top_k, chosen = self.top_k if self.top_k < cells.n_cells // self.ratio else 0, None
        if top_k:
            chosen = r.once(("chosen", self.chooser), lambda: self._choose(r, made.q_a, projected, more[1], top_k))
        out = r.floats("attention", s.n_head * s.rank)
        self._attend(r, self.k_b.record(r, made.q, s.k_dim), cells, chosen, top_k, out)
        r.close_linear(f"blk.{self.i}.attn_output", self.output, self.v_b.record(r, out), to)

    def _choose(self, r: Recorder, q_a: Value, projected: Projected | None, keys: Cells, top_k: int) -> Buffer:
        assert self.indexer
        assert projected
        jobs: Jobs = []
        q = self.indexer.queries(r, jobs)
        r.linears(q_a, jobs)
        return self.indexer.choose(r, q, projected.weights, keys, top_k)

    def _attend(self, r: Recorder, q: Buffer, cells: Cells, chosen: Buffer | None, top_k: int, out: Buffer) -> None:
        """Groups and what is past the last whole one lie in the same cells."""
        s = self.latents.sizes
        stride = s.n_head * s.rank * F32
        r.plan.op(
            f"blk.{self.i}.attention", Key("joined_attention", "heads", (cells.kv_type,)), joined_attention.Params,
            (r.n_rows, s.n_head, s.rank),
            step=r.step, q=q, q_stride=stride, n_head=s.n_head, dim=s.rank, cells=cells.address(0),
            n_cells=cells.n_cells, window=0, entries=cells.address(0), n_entries=cells.n_cells, ratio=self.ratio,
            members=self.ratio, chosen=chosen or 0, top_k=top_k, scale=self.scale, sinks=0, out=out, out_stride=stride,
            group=heads_of_unit(r, s.rank),
        )  # fmt: skip


def read(f: LayerReader) -> PooledAttention:
    c, keys, i = f.config, f.config.keys, f.i
    numbers.one_of(keys.place("rope.dimension_count"), c.n_rot[i], (0,))
    latents = read_latents(f)
    s = latents.sizes
    tensors.fits_scratch(f.place, joined_attention.max_heads(s.rank) >= 1, f"latents of {s.rank} elements")
    key = "attention.indexer.kpool_select_tail"
    numbers.one_of(keys.place(key), keys.flag(key, True), (True,))
    ratio = keys.integer("attention.indexer.kpool")
    top_k = keys.integer("attention.indexer.top_k", low=ratio)
    numbers.multiple(keys.place("attention.indexer.top_k"), top_k, ratio, "indexer.kpool")
    chooser = _chooser(c, i)
    if chooser != i:
        f.weights.leave(rf"blk\.{i}\.indexer.*")
    return PooledAttention(
        i=i, latents=latents, k_b=read_head_matrices(f, "attn_k_b", s.nope, s.rank, s.n_head),
        v_b=read_head_matrices(f, "attn_v_b", s.rank, s.v_dim, s.n_head),
        output=f.linear("attn_output", s.n_head * s.v_dim, c.n_embd), scale=float(f.spec.attention_scale(c, i)),
        ratio=ratio, top_k=top_k // ratio, indexer=_indexer(f, ratio, top_k // ratio) if chooser == i else None,
        chooser=chooser, path=f.path,
    )  # fmt: skip


def _chooser(c: Config, i: int) -> int:
    """The last layer up to this one that has attention and an indexer of its own."""
    key = "attention.indexer.types"
    has_own = c.keys.per_layer(key, c.n_block, 1)
    own = [j for j in range(i + 1) if c.n_head_kv[j] and has_own[j]]
    numbers.has_source(c.keys.place(key), i, bool(own))
    return own[-1]


def _indexer(f: LayerReader, ratio: int, top_k: int) -> Indexer:
    c, n = f.config, f.config.n_embd
    n_head = c.keys.integer("attention.indexer.head_count")
    dim = c.keys.integer("attention.indexer.key_length")
    name = f.name("indexer.k_norm")
    norm = Norm(
        f.weights.vector(f"{name}.weight", dim), f.weights.vector(f"{name}.bias", dim),
        c.keys.at_least_0("attention.layer_norm_epsilon", 0.0), "layer",
    )  # fmt: skip
    compressor = Compressor(
        f.name("indexer_compressor"), f.linear("indexer.attn_k", n, dim), f.linear("indexer_compressor_gate", n, dim),
        read_ape(f, "indexer_compressor_ape.weight", dim, ratio), None, dim, ratio, values_norm=norm,
    )  # fmt: skip
    q_rank = c.keys.integer("attention.q_lora_rank")
    return Indexer(
        f.name("indexer"), f.linear("indexer.attn_q_b", q_rank, n_head * dim), f.linear("indexer.proj", n, n_head),
        compressor, n_head, top_k,
    )  # fmt: skip

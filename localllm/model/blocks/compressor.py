"""Entries that stand for groups of positions (see kernels.compress), and the indexer that chooses among them (see
kernels.indexer). What an entry is made of is kept in cells, f32, until its group is whole, and some time longer, so
that a sequence can be cut anywhere that its window allows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from localllm.gate import numbers
from localllm.kernels import compress, indexer, latent_attention
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder
from localllm.model.rope import Rope
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.state import StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place, Value

Jobs = list[tuple[Linear, Value, Value]]


@dataclass(frozen=True)
class Made:
    """What entries are made of, for each row."""

    values: Buffer
    scores: Buffer | None


@dataclass(frozen=True)
class Compressor:
    name: str
    values: Linear
    scores: Linear | None
    """None: entries are plain means."""
    ape: Weight
    """f32 [ratio][width]."""
    norm: Norm | None
    """Of entries."""
    dim: int
    ratio: int
    overlap: int = 0
    """1: an entry reaches back over the group before its own."""
    n_rot: int = 0
    values_norm: Norm | None = None
    """Of what entries are made of."""
    pairing: str = "adjacent"
    """See kernels.compress.entries."""

    @property
    def width(self) -> int:
        return (1 + self.overlap) * self.dim

    def states(self, options: StateOptions, name: str, tiled: bool) -> tuple[Cells, Cells]:
        """What entries are made of, and the entries."""
        exact = replace(options, kv_type="f32")
        parts = Cells([Plane(1, self.width)] * 2, exact, (1 + self.overlap) * self.ratio, name)
        return parts, Cells([Plane(1, self.dim, tiled)], options, 0, name, self.ratio)

    def project(self, r: Recorder, jobs: Jobs) -> Made:
        """Add the products of the block's input to `jobs`."""
        made = Made(
            r.floats("compressor values", self.width),
            r.floats("compressor scores", self.width) if self.scores else None,
        )
        jobs.append((self.values, made.values, 0))
        if self.scores and made.scores:
            jobs.append((self.scores, made.scores, 0))
        return made

    def record(self, r: Recorder, made: Made, parts: Cells, entries: Cells, rotation: Rope | None = None) -> None:
        """Keep what was made, and make the entries of groups that end in this batch."""
        if self.values_norm:
            r.norm(f"{self.name}_norm", made.values, self.values_norm, made.values, self.width)
        r.check_kept(*((rows, self.width) for rows in (made.values, made.scores) if rows))
        with r.plan.stage():
            store(r, parts, 0, made.values, self.width)
            if made.scores:
                store(r, parts, 1, made.scores, self.width)
        key: tuple[str, ...] = ("tiles" if entries.planes[0].tiled else "rows", entries.kv_type)
        if self.pairing != "adjacent":
            key += (self.pairing,)
        r.plan.op(
            self.name, Key("compress", "entries", key), compress.Params, (r.n_rows, self.dim),
            step=r.step, values=parts.address(0), scores=parts.address(1), n_cells=parts.n_cells, dim=self.dim,
            ratio=self.ratio, overlap=self.overlap, ape=self.ape.address,
            norm=self.norm.w.address if self.norm and self.norm.w else 0, eps=self.norm.eps if self.norm else 0.0,
            n_rot=self.n_rot, frequencies=rotation.address if rotation else 0,
            gain=float(rotation.scale) if rotation else 1.0, out=entries.address(0),
            n_entries=entries.n_cells,
        )  # fmt: skip


@dataclass(frozen=True)
class Projected:
    made: Made
    weights: Buffer


@dataclass(frozen=True)
class Indexer:
    """Small heads that choose `top_k` of the entries for each row."""

    name: str
    q_b: Linear
    proj: Linear
    compressor: Compressor
    n_head: int
    top_k: int

    def n_chosen(self, n: int) -> int:
        """Entries that are chosen where there may be n; 0: all."""
        return self.top_k if self.top_k < n else 0

    def project(self, r: Recorder, jobs: Jobs) -> Projected:
        weights = r.floats("indexer weights", self.n_head)
        jobs.append((self.proj, weights, 0))
        return Projected(self.compressor.project(r, jobs), weights)

    def queries(self, r: Recorder, jobs: Jobs) -> Buffer:
        q = r.floats("indexer q", self.n_head * self.compressor.dim)
        jobs.append((self.q_b, q, 0))
        return q

    def choose(
        self, r: Recorder, q: Buffer, weights: Buffer, keys: Cells, top_k: int, table: Buffer | None = None
    ) -> Buffer:
        """The numbers of the chosen entries, int32 [n_rows][top_k]."""
        dim, n_rot = self.compressor.dim, self.compressor.n_rot
        if table:
            r.rotate("adjacent", Place(q, (dim - n_rot) * F32), self.n_head, dim, n_rot, table)
        scores = r.floats("indexer scores", keys.n_cells)
        chosen = r.plan.buffer("chosen", r.n_rows * top_k * 4)
        r.plan.op(
            f"{self.name}.scores", Key("indexer", "scores", (keys.kv_type, indexer.heads_together(self.n_head))),
            indexer.ScoreParams, (r.n_rows, keys.n_cells),
            step=r.step, q=q, n_head=self.n_head, dim=dim, weights=weights, keys=keys.address(0), n_keys=keys.n_cells,
            ratio=keys.ratio, top_k=top_k, out=scores,
        )  # fmt: skip
        r.plan.op(
            f"{self.name}.choose", Key("indexer", "choose"), indexer.ChooseParams, (r.n_rows, top_k),
            step=r.step, scores=scores, n_keys=keys.n_cells, ratio=keys.ratio, top_k=top_k, out=chosen,
        )  # fmt: skip
        return chosen


def store(
    r: Recorder, cells: Cells, plane: int, x: Buffer, n: int, n_rot: int = 0, table: Buffer | None = None
) -> None:
    """Rows of n elements, of which the last n_rot have RoPE, into their cells."""
    r.plan.op(
        "cache", Key("latent_attention", "store_rows", ("adjacent", cells.kv_type)), latent_attention.StoreParams,
        (r.n_rows, n),
        step=r.step, x=x, stride=n * F32, dim=n, n_rot=n_rot, table=table or 0, cache=cells.address(plane),
        n_cells=cells.n_cells,
    )  # fmt: skip


def read_compressor(f: LayerReader, name: str, dim: int, ratio: int) -> Compressor:
    """That of DeepSeek-V4: groups of 4 overlap."""
    n, overlap = f.config.n_embd, int(ratio == 4)
    width = (1 + overlap) * dim
    norm = f.required_norm(f"{name}_norm", dim)
    n_rot = f.config.n_rot[f.i]
    numbers.at_most(f.config.keys.place("rope.dimension_count"), n_rot, dim, "a key's size")
    return Compressor(
        f.name(name), f.linear(f"{name}_kv", n, width), f.linear(f"{name}_gate", n, width),
        read_ape(f, f"{name}_ape.weight", width, ratio), norm, dim, ratio, overlap, n_rot,
    )  # fmt: skip


def read_ape(f: LayerReader, short: str, width: int, ratio: int) -> Weight:
    """What the place within a group adds to scores. A copy: the kernel reads whole vectors."""
    name = f.name(short)
    return f.weights.constant(f"{name} padded", f.weights.dequantized(name, width, ratio))


def read_indexer(f: LayerReader, q_rank: int, ratio: int, n_rot: int) -> Indexer:
    c = f.config
    n_head = c.keys.integer("attention.indexer.head_count")
    dim = c.keys.integer("attention.indexer.key_length")
    return Indexer(
        f.name("indexer"), f.linear("indexer.attn_q_b", q_rank, n_head * dim),
        f.linear("indexer.proj", c.n_embd, n_head), read_compressor(f, "indexer_compressor", dim, ratio), n_head,
        c.keys.integer("attention.indexer.top_k", low=1),
    )  # fmt: skip

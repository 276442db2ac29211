"""The lightning indexer (DeepSeek-V3.2's report, 2025; llama.cpp's deepseek32.cpp): a few small heads with one key a
cell choose the cells that a row attends to.

Scores are those of llama.cpp but for what does not change their order: a factor, and the Hadamard transform of queries
and keys, which is there for caches in few bits. Of equal scores the first cell's counts more; llama.cpp leaves open
which does.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.kernels import indexer, rope
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder
from localllm.model.spec import IndexerSpec
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.state import StateOptions
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True)
class Products:
    """Of the layer's input: keys, f32 [n_rows, dim], and the heads' weights, f32 [n_rows, n_head]."""

    k: Buffer
    weights: Buffer


@dataclass(frozen=True, eq=False)
class LightningIndexer:
    i: int
    n_head: int
    dim: int
    q: Linear
    k: Linear
    k_norm: Norm
    weights: Linear
    top_k: int
    """Cells that are chosen."""
    pairing: str
    n_rot: int
    """Elements of a head with RoPE."""
    before: int
    """Elements of a head before them."""
    path: str

    def cells(self, options: StateOptions) -> Cells | None:
        """Of keys; None where no row can see more cells than are chosen."""
        if options.n_ctx <= self.top_k:
            return None
        return Cells((Plane(1, self.dim, tiled=True),), options, name=f"{self.path}: indexer of layer {self.i}")

    def products(self, r: Recorder) -> tuple[Products, list[tuple[Linear, Value, Value]]]:
        """What it needs of the layer's input, and the products that make it."""
        made = Products(r.floats("indexer.k", self.dim), r.floats("indexer.weights", self.n_head))
        return made, [(self.k, made.k, 0), (self.weights, made.weights, 0)]

    def choose(self, r: Recorder, cells: Cells, made: Products, q_a: Value, table: Buffer | None) -> Buffer:
        """Store the rows' keys; numbers of the cells that each row attends to, int32 [n_rows][top_k]. q_a: what
        queries are made from."""
        name, row = f"blk.{self.i}.indexer", self.n_head * self.dim
        q, chosen = r.floats("indexer.q", row), r.plan.buffer("chosen cells", r.n_rows * self.top_k * 4)
        r.norm(f"{name}.k_norm", made.k, self.k_norm, made.k, self.dim)
        r.linears(q_a, [(self.q, q, 0)])
        if table:
            with r.plan.stage():
                self._rotate(r, q, self.n_head, table)
                self._rotate(r, made.k, 1, table)
        r.check_kept((made.k, self.dim))
        # Keys alone: values of no elements.
        r.plan.op(
            "cache", Key("rope", "cache", (self.pairing, cells.kv_type)), rope.CacheParams, (r.n_rows, 1),
            step=r.step, k=made.k, k_stride=self.dim * F32, v=made.k, v_stride=0, n_head=1, k_dim=self.dim, v_dim=0,
            n_rot=0, table=0, k_cache=cells.address(0), v_cache=0, n_cells=cells.n_cells,
        )  # fmt: skip
        scores = r.floats("indexer.scores", cells.n_cells)
        shared: dict[str, Value] = {"step": r.step, "n_keys": cells.n_cells, "ratio": 1, "top_k": self.top_k}
        r.plan.op(
            f"{name}.scores", Key("indexer", "scores", (cells.kv_type, indexer.heads_together(self.n_head))),
            indexer.ScoreParams, (r.n_rows, cells.n_cells), q=q, n_head=self.n_head, dim=self.dim,
            weights=made.weights, keys=cells.address(0), out=scores, **shared,
        )  # fmt: skip
        r.plan.op(
            f"{name}.choice", Key("indexer", "choose"), indexer.ChooseParams, (r.n_rows, self.top_k),
            scores=scores, out=chosen, **shared,
        )  # fmt: skip
        return chosen

    def _rotate(self, r: Recorder, x: Buffer, n_head: int, table: Buffer) -> None:
        r.rotate(self.pairing, Place(x, self.before * F32), n_head, self.dim, self.n_rot, table)


def read_indexer(f: LayerReader, n_q: int, n_rot: int, spec: IndexerSpec) -> LightningIndexer:
    """n_q: elements of what queries are made from."""
    keys, n = f.config.keys, f.config.n_embd
    n_head = keys.integer("attention.indexer.head_count")
    dim = keys.integer("attention.indexer.key_length", low=max(1, n_rot))
    w = f.weights.vector(f.name("indexer.k_norm.weight"), dim)
    eps = f.eps if spec.eps is None else spec.eps
    return LightningIndexer(
        f.i, n_head, dim, f.linear("indexer.attn_q_b", n_q, n_head * dim), f.linear("indexer.attn_k", n, dim),
        Norm(w, f.vector("indexer.k_norm.bias", dim), eps, "layer"), f.linear("indexer.proj", n, n_head),
        keys.integer("attention.indexer.top_k", low=1), spec.pairing, n_rot,
        dim - n_rot if spec.rope_last else 0, f.path,
    )  # fmt: skip

"""A matrix for each head: products of a head's part of a row with its own."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.kernels import heads
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, MATVEC_MAX_ROWS, TILE, Recorder, chunk, kind_of
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class HeadMatrices:
    """n_head matrices of n rows, one after another."""

    w: Weight
    n_head: int
    n: int

    def record(self, r: Recorder, x: Value, stride: int = 0) -> Buffer:
        """The products, f32 [n_rows][n_head][n]. x: each head's part of each row, `stride` floats apart, or one after
        another."""
        w, few = self.w, r.n_rows <= MATVEC_MAX_ROWS
        pad, stride = 1 if few else TILE, (stride or w.k) * F32
        max_parts = self.n_head * (-(-r.n_rows // pad) * pad)
        parts, n_places = r.plan.buffer("heads", max_parts * w.k * F32), r.plan.buffer("number of parts", 8)
        out = r.floats("of heads", self.n_head * self.n)
        r.plan.op(
            f"{w.name}.gather", Key("heads", "gather"), heads.GatherParams, (r.n_rows, self.n_head, w.k),
            n_rows_at=r.rows_at, n_head=self.n_head, n=w.k, x=x, row=self.n_head * stride, head=stride, pad=pad,
            out=parts, n_places=n_places,
        )  # fmt: skip
        rows_at, r.rows_at = r.rows_at, n_places
        ready = r.prepare([w], parts, rows=max_parts, many=not few)[kind_of(w)]
        r.rows_at = rows_at
        shared: dict[str, Value] = {
            "n_rows_at": rows_at, "n_head": self.n_head, "w": w.address, "row_bytes": w.row_bytes, "n": self.n,
            "k": w.k, "x": ready.x, "x_d": ready.d, "x_s": ready.s, "out": out,
        }  # fmt: skip
        row, row_d, row_s, row_p = ready.bytes
        shape = (r.n_rows, self.n_head, self.n)
        if few:
            r.plan.op(
                w.name, Key("heads", "rows", (w.module,)), heads.RowsParams, shape,
                x_row=row, d_row=row_d, s_row=row_s, chunk=chunk(w), **shared,
            )  # fmt: skip
        else:
            r.plan.op(
                w.name, Key("heads", "tiles", (w.module,)), heads.TilesParams, shape,
                x_p=ready.p, row=row, row_d=row_d, row_s=row_s, row_p=row_p, **shared,
            )  # fmt: skip
        return out


def read_head_matrices(f: LayerReader, short: str, k: int, n: int, n_head: int) -> HeadMatrices:
    """The tensor of this name, of shape (k, n, n_head)."""
    return HeadMatrices(f.weights.matrices(f.name(f"{short}.weight"), k, n, n_head), n_head, n)

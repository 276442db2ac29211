"""Multi-head latent attention whose matrices of keys and values are one tensor, attn_kv_b: MiniCPM3, PLM, and older
files of DeepSeek-V2 and its kind. Keys and values of each head are made of the latents, and go to the cache as those of
other attention (llama.cpp, deepseek2.cpp, minicpm3.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.kernels import heads
from localllm.kernels.objects import Key
from localllm.model.blocks.around import window_of
from localllm.model.blocks.latents import Latents, read_latents
from localllm.model.blocks.over_cells import OverCells
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Recorder, Residual
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True, eq=False)
class LatentHeads:
    i: int
    latents: Latents
    kv_b: Linear
    output: Linear
    over_cells: OverCells
    path: str
    """Of the file, for errors."""

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (self.over_cells.cells(options, self.path),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (cells,) = r.states_of(self)
        s, name = self.latents.sizes, f"blk.{self.i}"
        made = self.latents.record(r, x, table, [])
        shared = Place(made.kv, s.rank * F32)
        stride = (s.rank + s.n_rot) * F32
        latents, kv = r.floats("latents", s.rank), r.floats("kv_b", s.n_head * (s.nope + s.v_dim))
        with r.plan.stage():
            r.plan.op(
                f"{name}.latents", Key("heads", "gather"), heads.GatherParams, (r.n_rows, s.rank),
                n_rows_at=r.rows_at, n_head=1, n=s.rank, x=made.kv, row=stride, head=0, pad=1, out=latents,
                n_places=r.plan.buffer("number of latents", 8),
            )  # fmt: skip
            if table:
                r.rotate(self.latents.pairing, shared, 1, s.n_rot, s.n_rot, table, stride=s.rank + s.n_rot)
        r.linears(latents, [(self.kv_b, kv, 0)])
        k, v = r.floats("k", s.n_head * s.k_dim), r.floats("v", s.n_head * s.v_dim)
        r.plan.op(
            f"{name}.split", Key("heads", "split"), heads.SplitParams, (r.n_rows, s.n_head, s.k_dim),
            n_rows_at=r.rows_at, n_head=s.n_head, nope=s.nope, n_rot=s.n_rot, v_dim=s.v_dim, kv=kv, rotated=shared,
            stride=stride, k=k, v=v,
        )  # fmt: skip
        self.over_cells.store(r, cells, k, v, 0, 0)
        out = r.floats("attention", s.n_head * s.v_dim)
        self.over_cells.attend(r, cells, made.q, out)
        if self.latents.gate and made.gate:
            self.latents.gate.record(r, f"{name}.attn_gate", out, made.gate, s.n_head * s.v_dim)
        r.close_linear(f"{name}.attn_output", self.output, out, to)


def read(f: LayerReader) -> LatentHeads:
    latents = read_latents(f)
    s = latents.sizes
    return LatentHeads(
        f.i, latents, f.linear("attn_kv_b", s.rank, s.n_head * (s.nope + s.v_dim)),
        f.linear("attn_output", s.n_head * s.v_dim, f.config.n_embd),
        OverCells(
            f.i, s.n_head, s.n_head, s.k_dim, s.v_dim, window_of(f.config, f.i),
            float(f.spec.attention_scale(f.config, f.i)), latents.pairing,
        ),
        f.path,
    )  # fmt: skip

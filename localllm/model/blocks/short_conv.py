"""LFM2's gated short convolution (Liquid AI's model card; llama.cpp's lfm2.cpp): in_proj gives b, c and x, and the
block is out_proj(c * conv(b * x)), the convolution over the last few tokens of each channel.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.kernels import conv
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Recorder, Residual
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True, eq=False)
class ShortConv:
    i: int
    in_proj: Linear
    conv: Weight
    """f32 [width][n_embd]."""
    width: int
    out_proj: Linear

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent((self.width - 1) * self.out_proj.w.k),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        n = self.out_proj.w.k
        bcx, y = r.floats("shortconv.in_proj", 3 * n), r.floats("shortconv.conv", n)
        r.linears(x, [(self.in_proj, bcx, 0)])
        r.plan.op(
            f"blk.{self.i}.shortconv.conv", Key("conv", "rows", ("gated",)), conv.Params, (r.n_rows, n),
            step=r.step, x=Place(bcx, 2 * n * F32), gate_in=bcx, gate_out=Place(bcx, n * F32), x_stride=3 * n * F32,
            n=n, w=self.conv.address, width=self.width, bias=0, state=state.address(0),
            state_stride=state.stride(0), out=y,
        )  # fmt: skip
        r.close_linear(f"blk.{self.i}.shortconv.out_proj", self.out_proj, y, to)


def read(f: LayerReader) -> ShortConv:
    n, width = f.config.n_embd, f.config.keys.integer("shortconv.l_cache")
    return ShortConv(
        f.i, f.linear("shortconv.in_proj", n, 3 * n), f.transposed("shortconv.conv.weight", width, n), width,
        f.linear("shortconv.out_proj", n, n),
    )  # fmt: skip

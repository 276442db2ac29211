"""The causal convolution that Mamba's blocks and delta-nets begin with (kernels.conv)."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.kernels import conv
from localllm.kernels.objects import Key
from localllm.model.recorder import F32, Recorder
from localllm.model.states.recurrent import Recurrent
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class Convolution:
    """Of n channels, each over the last `width` tokens, then SiLU."""

    name: str
    w: Weight
    """f32 [width][n]."""
    bias: Weight | None
    width: int
    n: int

    @property
    def size(self) -> int:
        """Floats of its state: the inputs before a token."""
        return (self.width - 1) * self.n

    def record(self, r: Recorder, x: Value, stride: int, state: Recurrent, part: int) -> Buffer:
        """f32 [n_rows, n]; x: rows `stride` floats apart; part: which of the layer's state is its own."""
        out = r.floats("conv", self.n)
        r.plan.op(
            self.name, Key("conv", "rows", ("silu",)), conv.Params, (r.n_rows, self.n),
            step=r.step, x=x, gate_in=0, gate_out=0, x_stride=stride * F32, n=self.n, w=self.w.address,
            width=self.width, bias=self.bias.address if self.bias else 0, state=state.address(part),
            state_stride=state.stride(part), out=out,
        )  # fmt: skip
        return out

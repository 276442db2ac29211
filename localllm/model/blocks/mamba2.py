"""The Mamba-2 block (Dao and Gu 2024, arXiv 2405.21060; llama.cpp's build_mamba2_layer): ssm_in gives z, x, B, C and
dt; x, B and C go through a convolution, then the scan, whose result is gated by z and normed in groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gate import numbers
from localllm.model.convolution import Convolution
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder, Residual
from localllm.model.ssm import Scan, read_convolutions, read_scan_of_heads, read_sizes, rms_norm
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True, eq=False)
class Mamba2:
    i: int
    ssm_in: Linear
    conv_x: Convolution
    conv_bc: Convolution
    """Of B and C; apart from that of x, so that their rows, which all heads read, lie close together."""
    dt_bias: Weight | None
    scan: Scan
    norms: tuple[Norm, ...]
    """One a group, or none."""
    ssm_out: Linear

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent(self.conv_x.size, self.conv_bc.size, self.scan.size),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        name, width, n, n_bc = f"blk.{self.i}.ssm", self.ssm_in.w.n, self.scan.n, self.conv_bc.n
        projected = r.floats("ssm_in", width)
        r.linears(x, [(self.ssm_in, projected, 0)])
        steps = r.floats("ssm dt", 2 * self.scan.n_head)
        with r.plan.stage():
            xs = self.conv_x.record(r, Place(projected, n * F32), width, state, 0)
            bc = self.conv_bc.record(r, Place(projected, 2 * n * F32), width, state, 1)
            dt = Place(projected, (2 * n + n_bc) * F32)
            self.scan.record_steps(r, f"{name}_dt", dt, width, self.dt_bias, steps)
        y = r.floats("ssm y", n)
        self.scan.record(r, f"{name}_scan", xs, bc, steps, (projected, width, self.scan.head_dim), state, 2, y)
        with r.plan.stage():
            for group, norm in enumerate(self.norms):
                size = n // len(self.norms)
                rms_norm(r, f"{name}_norm", Place(y, group * size * F32), norm, size, n)
        r.close_linear(f"{name}_out", self.ssm_out, y, to)


def read(f: LayerReader) -> Mamba2:
    keys, sizes, n_embd = f.config.keys, read_sizes(f), f.config.n_embd
    n_head, n, n_group = sizes.dt_rank, sizes.d_inner, sizes.n_group
    numbers.divides(keys.place("ssm.group_count"), n_group, ("time_step_rank", n_head), ("inner_size", n))
    n_bc, scan = 2 * n_group * sizes.d_state, read_scan_of_heads(f, sizes, n_group, 1, n_head)
    conv_x, conv_bc = read_convolutions(f, sizes.d_conv, n, n_bc)
    norm, size = f.vector("ssm_norm.weight", n // n_group, n_group), n // n_group
    return Mamba2(
        i=f.i, ssm_in=f.linear("ssm_in", n_embd, 2 * n + n_bc + n_head), conv_x=conv_x, conv_bc=conv_bc,
        dt_bias=f.weights.vector(f.name("ssm_dt.bias"), n_head), scan=scan,
        norms=tuple(Norm(norm.part(g * size, size), None, f.eps, "rms") for g in range(n_group)) if norm else (),
        ssm_out=f.linear("ssm_out", n, n_embd),
    )  # fmt: skip

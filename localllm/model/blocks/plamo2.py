"""PLaMo 2's Mamba block (Preferred Networks' model card; llama.cpp's build_plamo2_mamba_layer): Mamba-2's scan, one
decay a head, with B, C and dt made of the convolved x, and normed, as Jamba's are. ssm_in gives z and x head by head.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.model.convolution import Convolution
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder, Residual
from localllm.model.ssm import Scan, read_convolutions, read_scan_of_heads, read_sizes, rms_norm, rows_of
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True, eq=False)
class Plamo2:
    i: int
    ssm_in: Linear
    conv: Convolution
    x_bc: Linear
    """The rows of ssm_x that give B and C, and those that give the steps' low-rank form."""
    x_dt: Linear
    b_norm: Norm
    c_norm: Norm
    dt_norm: Norm
    ssm_dt: Linear
    scan: Scan
    ssm_out: Linear

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent(self.conv.size, self.scan.size),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        name, n, rank, d_state = f"blk.{self.i}.ssm", self.scan.n, self.x_dt.w.n, self.scan.d_state
        n_head, head_dim = self.scan.n_head, self.scan.head_dim
        zx, raw = r.floats("ssm_in", 2 * n), r.floats("ssm_in x", n)
        r.linears(x, [(self.ssm_in, zx, 0)])
        x_of_heads = Place(zx, head_dim * F32)
        r.pieces(f"{name}_in x", n_head, head_dim, x_of_heads, (2 * n, 2 * head_dim), raw, (n, head_dim))
        xs = self.conv.record(r, raw, n, state, 0)
        low, bc, dt = r.floats("ssm dt, low rank", rank), r.floats("ssm B and C", 2 * d_state), r.floats("dt", n_head)
        r.linears(xs, [(self.x_bc, bc, 0), (self.x_dt, low, 0)])
        with r.plan.stage():
            rms_norm(r, f"{name}_b_norm", bc, self.b_norm, d_state, 2 * d_state)
            rms_norm(r, f"{name}_c_norm", Place(bc, d_state * F32), self.c_norm, d_state, 2 * d_state)
            rms_norm(r, f"{name}_dt_norm", low, self.dt_norm, rank, rank)
        r.linears(low, [(self.ssm_dt, dt, 0)])
        steps, y = r.floats("ssm dt", 2 * n_head), r.floats("ssm y", n)
        self.scan.record_steps(r, f"{name}_dt", dt, n_head, None, steps)
        self.scan.record(r, f"{name}_scan", xs, bc, steps, (zx, 2 * n, 2 * head_dim), state, 1, y)
        r.close_linear(f"{name}_out", self.ssm_out, y, to)


def read(f: LayerReader) -> Plamo2:
    sizes, n_embd = read_sizes(f), f.config.n_embd
    n, d_state, n_head = sizes.d_inner, sizes.d_state, sizes.dt_rank
    rank, scan = max(64, n_embd // 16), read_scan_of_heads(f, sizes, 1, n_head)
    (conv,) = read_convolutions(f, sizes.d_conv, n)
    x_bc, x_dt = rows_of(f.linear("ssm_x", n, 2 * d_state + rank), 2 * d_state, rank)
    return Plamo2(
        i=f.i, ssm_in=f.linear("ssm_in", n_embd, 2 * n), conv=conv, x_bc=x_bc, x_dt=x_dt,
        b_norm=f.required_norm("ssm_b_norm", d_state), c_norm=f.required_norm("ssm_c_norm", d_state),
        dt_norm=f.required_norm("ssm_dt_norm", rank),
        ssm_dt=f.linear("ssm_dt", rank, n_head), scan=scan,
        ssm_out=f.linear("ssm_out", n, n_embd),
    )  # fmt: skip

"""The Mamba block (Gu and Dao 2023, arXiv 2312.00752; llama.cpp's build_mamba_layer): ssm_in gives x and z; x goes
through a convolution, and gives the steps' low-rank form, B and C; the scan's result is gated by z.

FalconMamba norms those three without weights, Jamba with weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.model.convolution import Convolution
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder, Residual
from localllm.model.ssm import Scan, Sizes, read_convolutions, read_sizes, rms_norm, rows_of
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place, Value

_NORMS = ("ssm_dt_norm", "ssm_b_norm", "ssm_c_norm")


@dataclass(frozen=True, eq=False)
class Mamba:
    i: int
    ssm_in: Linear
    conv: Convolution
    x_dt: Linear
    """The rows of ssm_x that give the steps' low-rank form, and those that give B and C."""
    x_bc: Linear
    norms: tuple[Norm, Norm, Norm] | None
    """Of the low-rank form, of B and of C."""
    ssm_dt: Linear
    scan: Scan
    ssm_out: Linear

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent(self.conv.size, self.scan.size),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        name, n, rank, d_state = f"blk.{self.i}.ssm", self.scan.n, self.x_dt.w.n, self.scan.d_state
        xz = r.floats("ssm_in", 2 * n)
        r.linears(x, [(self.ssm_in, xz, 0)])
        xs = self.conv.record(r, xz, 2 * n, state, 0)
        low, bc, dt = r.floats("ssm dt, low rank", rank), r.floats("ssm B and C", 2 * d_state), r.floats("ssm dt", n)
        r.linears(xs, [(self.x_dt, low, 0), (self.x_bc, bc, 0)])
        if self.norms:
            with r.plan.stage():
                rms_norm(r, f"{name}_dt_norm", low, self.norms[0], rank, rank)
                rms_norm(r, f"{name}_b_norm", bc, self.norms[1], d_state, 2 * d_state)
                rms_norm(r, f"{name}_c_norm", Place(bc, d_state * F32), self.norms[2], d_state, 2 * d_state)
        r.linears(low, [(self.ssm_dt, dt, 0)])
        y = r.floats("ssm y", n)
        self.scan.record(r, f"{name}_scan", xs, bc, dt, (Place(xz, n * F32), 2 * n, 0), state, 1, y)
        r.close_linear(f"{name}_out", self.ssm_out, y, to)


def read(f: LayerReader) -> Mamba:
    sizes, n_embd = read_sizes(f), f.config.n_embd
    n, rank, d_state = sizes.d_inner, sizes.dt_rank, sizes.d_state
    (conv,) = read_convolutions(f, sizes.d_conv, n)
    x_dt, x_bc = rows_of(f.linear("ssm_x", n, rank + 2 * d_state), rank, 2 * d_state)
    return Mamba(
        i=f.i, ssm_in=f.linear("ssm_in", n_embd, 2 * n), conv=conv, x_dt=x_dt, x_bc=x_bc,
        norms=_norms(f, (rank, d_state, d_state)), ssm_dt=f.linear("ssm_dt", rank, n), scan=_scan(f, sizes),
        ssm_out=f.linear("ssm_out", n, n_embd),
    )  # fmt: skip


def _norms(f: LayerReader, sizes: tuple[int, int, int]) -> tuple[Norm, Norm, Norm] | None:
    if not f.config.keys.flag("ssm.dt_b_c_rms", False) and not all(f.has_norm(name) for name in _NORMS):
        return None
    dt, b, c = (f.norm(name, n) or Norm(None, None, f.eps, "rms") for name, n in zip(_NORMS, sizes, strict=True))
    return dt, b, c


def _scan(f: LayerReader, sizes: Sizes) -> Scan:
    n, d_state = sizes.d_inner, sizes.d_state
    d = f.weights.vector(f.name("ssm_d"), n)
    return Scan("channel", 1, n, 1, d_state, _rates(f, n, d_state), d)


def _rates(f: LayerReader, n: int, d_state: int) -> Weight:
    """A as the kernel takes it: powers of two, [blocks of 16 channels][d_state][16]."""
    name = f.name("ssm_a")
    a = f.decay_rates(d_state, n).reshape(n, d_state)
    rates = np.zeros((-(-n // 16) * 16, d_state), np.float32)
    rates[:n] = a / np.log(2)
    return f.weights.constant(f"{name} of lanes", rates.reshape(-1, 16, d_state).transpose(0, 2, 1))

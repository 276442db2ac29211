"""The pieces that Mamba's blocks are recorded from: sizes, the convolution over the inputs, the selective scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers
from localllm.kernels import ssm
from localllm.kernels.objects import Key
from localllm.model.convolution import Convolution
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder
from localllm.model.states.recurrent import Recurrent
from localllm.model.weights import Weight
from localllm.runtime.plan import Value

_LANES = 16
"""Channels of a head are filled up to whole vectors in the scan's state."""


@dataclass(frozen=True)
class Sizes:
    """By GGUF's keys: ssm.conv_kernel, inner_size, state_size, time_step_rank, group_count."""

    d_conv: int
    d_inner: int
    d_state: int
    dt_rank: int
    """Mamba: of the step sizes' low-rank form; Mamba-2 and PLaMo 2: the number of heads."""
    n_group: int


def read_sizes(f: LayerReader) -> Sizes:
    """Raises FormatError naming the key."""
    keys = f.config.keys
    return Sizes(
        keys.integer("ssm.conv_kernel"), keys.integer("ssm.inner_size"),
        keys.integer("ssm.state_size"), keys.integer("ssm.time_step_rank"),
        keys.integer("ssm.group_count", 0),
    )  # fmt: skip


def head_dim(f: LayerReader, sizes: Sizes) -> int:
    """Of a block with dt_rank heads."""
    numbers.divides(f.config.keys.place("ssm.time_step_rank"), sizes.dt_rank, ("inner_size", sizes.d_inner))
    return sizes.d_inner // sizes.dt_rank


def read_convolutions(f: LayerReader, width: int, *counts: int) -> tuple[Convolution, ...]:
    """ssm_conv1d, by stretches of its channels."""
    name, n = f.name("ssm_conv1d.weight"), sum(counts)
    w = f.weights.values(name, width, n).reshape(n, width).T
    bias, found, first = f.vector("ssm_conv1d.bias", n), [], 0
    for count in counts:
        part = f.weights.constant(f"{name} from {first}", w[:, first : first + count])
        found.append(Convolution(name, part, bias.part(first, count) if bias else None, width, count))
        first += count
    return tuple(found)


@dataclass(frozen=True)
class Scan:
    """A selective scan; see kernels.ssm. decay: "head" or "channel"."""

    decay: str
    n_head: int
    head_dim: int
    n_group: int
    d_state: int
    a: Weight
    d: Weight
    """f32 [n_head * head_dim]."""

    @property
    def n(self) -> int:
        """Channels."""
        return self.n_head * self.head_dim

    @property
    def size(self) -> int:
        """Floats of its state."""
        return self.n_head * -(-self.head_dim // _LANES) * _LANES * ssm.state_rows(self.decay, self.d_state)

    def record_steps(self, r: Recorder, name: str, dt: Value, stride: int, bias: Weight | None, out: Value) -> None:
        """out: the step sizes and decays of heads, [n_rows][2][n_head]; dt: rows `stride` floats apart."""
        r.plan.op(
            name, Key("ssm", "steps"), ssm.StepsParams, (r.n_rows, 2 * self.n_head),
            n_rows_at=r.rows_at, n=self.n_head, dt=dt, stride=stride * F32, bias=bias.address if bias else 0,
            a=self.a.address, out=out,
        )  # fmt: skip

    def record(
        self, r: Recorder, name: str, x: Value, bc: Value, dt: Value, z: tuple[Value, int, int], state: Recurrent,
        part: int, out: Value,
    ) -> None:  # fmt: skip
        """x, out: rows of all channels; bc: rows of B and C; dt: rows of step sizes (and decays); z: the gate, and
        floats from a row's to the next one's, and from a head's."""
        by_head = self.decay == "head"
        r.plan.op(
            name, Key("ssm", "scan", (self.decay,)), ssm.ScanParams, (r.n_rows, self.n),
            step=r.step, n_head=self.n_head, head_dim=self.head_dim, n_group=self.n_group, d_state=self.d_state,
            x=x, x_stride=self.n * F32, bc=bc, bc_stride=2 * self.n_group * self.d_state * F32, dt=dt,
            dt_stride=(2 * self.n_head if by_head else self.n) * F32, a=0 if by_head else self.a.address,
            d=self.d.address, z=z[0], z_stride=z[1] * F32, z_head=z[2] * F32, state=state.address(part),
            state_stride=state.stride(part), out=out,
        )  # fmt: skip


def read_scan_of_heads(f: LayerReader, sizes: Sizes, n_group: int, *shape: int) -> Scan:
    """With one A and one D a head, tensors of this shape."""
    dim, name = head_dim(f, sizes), f.name("ssm_d")
    d = f.weights.constant(f"{name} of channels", np.repeat(f.weights.values(name, *shape), dim))
    f.decay_rates(*shape)
    a = f.weights.vector(f.name("ssm_a"), *shape)
    return Scan("head", sizes.dt_rank, dim, n_group, sizes.d_state, a, d)


def rms_norm(r: Recorder, name: str, x: Value, norm: Norm, n: int, stride: int) -> None:
    """Norm n floats of each row in place; rows are `stride` floats apart."""
    r.norm(name, x, norm, x, n, stride=stride)


def rows_of(whole: Linear, *counts: int) -> list[Linear]:
    """Stretches of a matrix's rows."""
    out, first = [], 0
    for n in counts:
        out.append(Linear(whole.w.rows(first, n), whole.bias.part(first, n) if whole.bias else None, whole.scale))
        first += n
    return out

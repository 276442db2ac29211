"""What the blocks of the gated delta rule share (kernels.delta_net): convolutions of queries, keys and values, their
norms, decays, the scan, and the gated norm of what it gives. See delta_net.py and kda.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.kernels import delta_net
from localllm.kernels.objects import Key
from localllm.model.convolution import Convolution
from localllm.model.feed_forward import gated, plain
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Norm, Recorder
from localllm.model.states.recurrent import Recurrent
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class Decay:
    """Decays e**g, one a head or one a channel of keys: n a row. a, dt: f32 [n], padded."""

    kind: str
    """How g is made; see kernels.delta_net.decay."""
    a: Weight
    dt: Weight
    n: int
    bound: float

    def record(self, r: Recorder, name: str, x: Value) -> Buffer:
        out = r.floats("decay", self.n)
        r.plan.op(
            f"{name}.decay", Key("delta_net", "decay", (self.kind,)), delta_net.DecayParams, (r.n_rows, self.n),
            n_rows_at=r.rows_at, n=self.n, x=x, a=self.a.address, dt=self.dt.address, bound=self.bound, out=out,
        )  # fmt: skip
        return out


@dataclass(frozen=True, eq=False)
class Rows:
    """f32 rows, `stride` floats apart."""

    at: Value
    stride: int


@dataclass(frozen=True, eq=False)
class DeltaRule:
    """The heads of one layer; head h has the keys of head h // repeat % n_head_k."""

    name: str
    n_head: int
    n_head_k: int
    repeat: int
    dim: int
    """Of keys and values."""
    decay: Decay
    unit: Norm
    """What gives queries and keys the length 1."""
    norm: Norm
    """Of each head's result."""
    gate: str
    """The function of what multiplies the normed result."""

    @property
    def state_floats(self) -> int:
        return delta_net.state_floats(self.n_head, self.dim, self.dim)

    def norm_keys(self, r: Recorder, x: Rows, heads: int) -> None:
        """Queries or keys, in place."""
        r.norm(f"{self.name}.l2_norm", x.at, self.unit, x.at, self.dim, heads, stride=x.stride)

    def record(
        self, r: Recorder, q: Rows, k: Rows, v: Rows, beta: Buffer, decay: Value, gate: Buffer, state: Recurrent,
        part: int,
    ) -> Buffer:  # fmt: skip
        """f32 [n_rows, n_head * dim] of normed queries and keys. beta, decay: as the file's matrices give them; gate:
        f32 [n_rows, n_head * dim]; part: of the state."""
        n = self.n_head * self.dim
        with r.plan.stage():
            decays = self.decay.record(r, self.name, decay)
            plain(r, f"{self.name}.beta", "sigmoid", beta, beta, self.n_head)
        out = r.floats("delta net", n)
        r.plan.op(
            f"{self.name}.scan", Key("delta_net", "scan", ("head" if self.decay.n == self.n_head else "channel",)),
            delta_net.ScanParams, (r.n_rows, n),
            step=r.step, n_head=self.n_head, n=self.dim, k_dim=self.dim, n_head_k=self.n_head_k, repeat=self.repeat,
            q=q.at, q_stride=q.stride * F32, k=k.at, k_stride=k.stride * F32, v=v.at, v_stride=v.stride * F32,
            decay=decays, beta=beta, scale=self.dim**-0.5, state=state.address(part), state_stride=state.stride(part),
            out=out,
        )  # fmt: skip
        r.norm(f"{self.name}.ssm_norm", out, self.norm, out, self.dim, self.n_head)
        gated(r, f"{self.name}.gate", self.gate, gate, out, n, 0.0)
        return gate


def read_convolution(f: LayerReader, short: str, n: int) -> Convolution:
    """The tensor `short`; its shape is [width, n], or [width, 1, n] with 1s behind."""
    width = f.config.keys.integer("ssm.conv_kernel")
    name = f.name(f"{short}.weight")
    shape = (width, 1, n) if len(f.weights.shape(name)) > 2 else (width, n)
    w = f.weights.constant(f"{name} transposed", f.weights.values(name, *shape).reshape(n, width).T)
    return Convolution(name, w, None, width, n)


def read_decay(f: LayerReader, kind: str, a: np.ndarray, n: int, bound: float = 0.0) -> Decay:
    """a: each head's, for n / len(a) channels."""

    def padded(short: str, values: np.ndarray) -> Weight:
        return f.weights.constant(f.name(short), np.pad(values, (0, -n % 16)))

    dt = padded("ssm_dt.bias", f.weights.values(f.name("ssm_dt.bias"), n))
    return Decay(kind, padded("ssm_a", np.repeat(a, n // a.size)), dt, n, bound)


def unit_norm(f: LayerReader, n: int, eps: float) -> Norm:
    """x / sqrt(sum(x**2) + eps), as RMSNorm with other numbers."""
    return Norm(f.weights.constant(f"unit {n}", np.full(n, n**-0.5)), None, eps / n, "rms")

"""Lightning attention (MiniMax-01, arXiv 2501.08313; llama.cpp's minimax-01.cpp): linear attention whose state fades by
a fixed factor a head and layer. Its result is normed over all heads and multiplied by a gate of the block's input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers
from localllm.kernels import activation, lightning
from localllm.kernels.objects import Key
from localllm.model.feed_forward import plain
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder, Residual
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class Lightning:
    i: int
    n_head: int
    dim: int
    qkv: Linear
    """Query, key and value of one head after another's."""
    decay: Weight
    norm: Norm
    gate: Linear
    output: Linear

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent(lightning.state_floats(self.n_head, self.dim)),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        n = self.n_head * self.dim
        qkv, gate, y = r.floats("attn_qkv", 3 * n), r.floats("attn_gate", n), r.floats("lightning", n)
        r.linears(x, [(self.qkv, qkv, 0), (self.gate, gate, 0)])
        plain(r, f"blk.{self.i}.attn_qkv", "silu", qkv, qkv, 3 * n)
        r.plan.op(
            f"blk.{self.i}.lightning", Key("lightning", "scan"), lightning.Params, (r.n_rows, n),
            step=r.step, qkv=qkv, stride=3 * n * F32, n_head=self.n_head, dim=self.dim, decay=self.decay.address,
            state=state.address(0), state_stride=state.stride(0), out=y,
        )  # fmt: skip
        r.norm(f"blk.{self.i}.attn_norm_2", y, self.norm, y, n)
        r.plan.op(
            f"blk.{self.i}.attn_gate", Key("activation", "multiply", ("sigmoid",)), activation.MultiplyParams,
            (r.n_rows, n), n_rows_at=r.rows_at, n=n, group=1, x=y, gate=gate, add=0, out=y,
        )  # fmt: skip
        r.close_linear(f"blk.{self.i}.attn_output", self.output, y, to)


def read(f: LayerReader) -> Lightning:
    c = f.config
    n_head, dim = c.n_head[f.i], c.n_embd_head_k[f.i]
    numbers.has_heads(c.keys.place("attention.head_count"), n_head, f.i)
    numbers.same(c.keys.place("attention.value_length"), c.n_embd_head_v[f.i], dim, "key_length")
    n = n_head * dim
    return Lightning(
        f.i, n_head, dim, f.linear("attn_qkv", c.n_embd, 3 * n),
        f.weights.constant(f"lightning decay {f.i}", _decay(n_head, f.i, c.n_layer)),
        f.rms("attn_norm_2", n), f.linear("attn_gate", c.n_embd, n), f.linear("attn_output", n, c.n_embd),
    )  # fmt: skip


def _decay(n_head: int, i: int, n_layer: int) -> np.ndarray:
    """What is left of each head's state after a token: ALiBi's slopes as a decay, slower in later layers."""
    slopes: np.ndarray = 2.0 ** (-8.0 / n_head * np.arange(1, n_head + 1))
    return np.exp(-slopes * (1.0 - i / max(1, n_layer - 1) + 1e-5))

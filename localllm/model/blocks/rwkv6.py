"""The time mix of RWKV 6 (Peng et al. 2024, arXiv 2404.05892), and of QRWKV, which is Qwen 2 with it in the place of
attention (llama.cpp's rwkv6-base.cpp): no bonus and no norm of heads, which may share keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers
from localllm.kernels import wkv, wkv6
from localllm.kernels.objects import Key
from localllm.model.blocks.token_shift import check_shift_count, mixed, planes, remix
from localllm.model.feed_forward import plain
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Linear, Norm, Recorder, Residual
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value

_USES = "wkvrg"
"""What the input is mixed for: decays, keys, values, receptances, the gate."""
HEAD_EPS = 64e-5
"""Of the norm of heads."""
MAX_RANK = 1 << 16
"""Of a pair of small matrices: the width between them."""


@dataclass(frozen=True, eq=False)
class TimeMix6:
    """Matrices by GGUF's names."""

    i: int
    size: int
    """Elements of a head."""
    lerp_x: Weight
    lerps: Weight
    """f32 [5][n_embd], by _USES; w1 and w2 make of each token what is added to them."""
    w1: tuple[Linear, ...]
    w2: tuple[Linear, ...]
    decay_w1: Linear
    decay_w2: Linear
    key: Linear
    value: Linear
    receptance: Linear
    gate: Linear
    output: Linear
    first: Weight | None
    """The bonus of a token's own key and value, and the norm of heads: both, or neither."""
    norm: Norm | None

    def states(self, options: StateOptions) -> tuple[State, ...]:
        n = self.output.w.k
        return (Recurrent(n, n * wkv.padded(self.size)),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        name, n = f"blk.{self.i}.time_mix", self.output.w.k
        xw, xk, xv, xr, xg = self._mixed(r, name, x, state)
        hidden, w = r.floats("decay_w1", self.decay_w1.w.n), r.floats("decay", n)
        k, v = r.floats("key", self.key.w.n), r.floats("value", self.value.w.n)
        receptance, gate, y = r.floats("receptance", n), r.floats("time_mix_gate", n), r.floats("wkv", n)
        products = (
            (xw, self.decay_w1, hidden), (xk, self.key, k), (xv, self.value, v), (xr, self.receptance, receptance),
            (xg, self.gate, gate),
        )  # fmt: skip
        r.linears_of([(of, [(linear, out, 0)]) for of, linear, out in products])
        plain(r, f"{name}_decay", "tanh", hidden, hidden, self.decay_w1.w.n)
        r.linears(hidden, [(self.decay_w2, w, 0)])
        norm, kind = self.norm, "bonus" if self.first else "gated"
        r.plan.op(
            f"{name}.wkv", Key("wkv6", "rows", (kind, wkv.together(self.size))), wkv6.Params, (r.n_rows, n),
            step=r.step, n_head=n // self.size, n_head_kv=self.key.w.n // self.size, size=self.size, r=receptance, k=k,
            v=v, w=w, gate=gate, first=self.first.address if self.first else 0, scale=self.size**-0.5,
            ln_w=norm.w.address if norm and norm.w else 0, ln_b=norm.bias.address if norm and norm.bias else 0,
            eps=HEAD_EPS, state=state.address(1), state_stride=state.stride(1), out=y,
        )  # fmt: skip
        r.close_linear(f"{name}_output", self.output, y, to)

    def _mixed(self, r: Recorder, name: str, x: Value, state: Recurrent) -> list[Value]:
        """The input mixed with that of the token before for each use, by factors that depend on the token."""
        n, rank, count = self.output.w.k, self.w1[0].w.n, len(_USES)
        (xx,) = mixed(r, f"{name}_lerp_x", x, self.lerp_x, n, state)
        hidden = [r.floats(f"time_mix_w1 {use}", rank) for use in _USES]
        r.linears(xx, [(w1, h, 0) for w1, h in zip(self.w1, hidden, strict=True)])
        with r.plan.stage():
            for h in hidden:
                plain(r, f"{name}_w1", "tanh", h, h, rank)
        out = r.floats("mixed inputs", count * n)
        places: list[Value] = [*planes(r, out, count, n)]
        r.linears_of([(h, [(w2, at, 0)]) for h, w2, at in zip(hidden, self.w2, places, strict=True)])
        remix(r, f"{name}_lerps", x, self.lerps, n, state, out)
        return places


def read(f: LayerReader) -> TimeMix6:
    check_shift_count(f)
    c, n = f.config, f.config.n_embd
    size = head_size(f)
    rank = c.keys.integer("time_mix_extra_dim")
    decay_rank = c.keys.integer("time_decay_extra_dim")
    n_kv = n
    if c.n_head_kv[f.i] and c.n_head_kv[f.i] != n // size:
        n_kv = c.n_head_kv[f.i] * size
        numbers.divides(c.keys.place("attention.head_count_kv"), c.n_head_kv[f.i], ("the number of heads", n // size))
    first, norm = None, None
    if f.has("time_mix_first.weight"):
        first, norm = f.vector("time_mix_first.weight", size, n // size), head_norm(f)
    w1, w2 = f.linear("time_mix_w1", n, 5 * rank), f.weights.matrices(f.name("time_mix_w2.weight"), rank, n, 5)
    decay_w2 = f.linear("time_mix_decay_w2", decay_rank, n)
    return TimeMix6(
        i=f.i, size=size, lerp_x=f.weights.vector(f.name("time_mix_lerp_x.weight"), n), lerps=_lerps(f),
        w1=tuple(Linear(w1.w.rows(j * rank, rank)) for j in range(5)),
        w2=tuple(Linear(w2.rows(j * n, n)) for j in range(5)),
        decay_w1=f.linear("time_mix_decay_w1", n, decay_rank),
        decay_w2=Linear(decay_w2.w, f.weights.vector(f.name("time_mix_decay.weight"), n), decay_w2.scale),
        key=f.linear("time_mix_key", n, n_kv), value=f.linear("time_mix_value", n, n_kv),
        receptance=f.linear("time_mix_receptance", n, n), gate=f.linear("time_mix_gate", n, n),
        output=f.linear("time_mix_output", n, n), first=first, norm=norm,
    )  # fmt: skip


def head_size(f: LayerReader) -> int:
    """Elements of a head, into which the embedding is cut."""
    n = f.config.n_embd
    size = f.config.keys.integer("wkv.head_size")
    return numbers.divides(f.config.keys.place("wkv.head_size"), size, ("embedding_length", n))


def head_norm(f: LayerReader) -> Norm:
    """The norm of each head's result, with weights for each."""
    w, bias = (f.weights.vector(f.name(f"time_mix_ln.{part}"), f.config.n_embd) for part in ("weight", "bias"))
    return Norm(w, bias, HEAD_EPS, "layer")


def _lerps(f: LayerReader) -> Weight:
    """In one tensor, or in older files in one for each use."""
    n = f.config.n_embd
    if f.has("time_mix_lerp_fused.weight"):
        return f.weights.vector(f.name("time_mix_lerp_fused.weight"), n, 1, 1, len(_USES))
    parts = [f.weights.values(f.name(f"time_mix_lerp_{use}.weight"), n) for use in _USES]
    return f.weights.constant(f.name("time_mix_lerp_fused"), np.concatenate(parts))

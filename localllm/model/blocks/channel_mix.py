"""RWKV's channel mix, in the place of a feed-forward block (Peng et al. 2024, arXiv 2404.05892): it also reads the
token before. Version 7 has no receptance, which multiplies the result (Peng et al. 2025, arXiv 2503.14456).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers
from localllm.kernels import activation
from localllm.kernels.objects import Key
from localllm.model.blocks.token_shift import mixed
from localllm.model.feed_forward import plain
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Linear, Recorder, Residual
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class ChannelMix:
    i: int
    lerps: Weight
    """f32 [1 or 2][n_embd]: for keys, and for receptances, if there are any."""
    key: Linear
    value: Linear
    receptance: Linear | None

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent(self.key.w.k),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        name, n, n_ff = f"blk.{self.i}.channel_mix", self.key.w.k, self.key.w.n
        xk, *xr = mixed(r, f"{name}_lerps", x, self.lerps, n, state)
        k, gate = r.floats("channel_mix_key", n_ff), r.floats("channel_mix_receptance", n)
        receptances = [(of, [(self.receptance, gate, 0)]) for of in xr if self.receptance]
        r.linears_of([(xk, [(self.key, k, 0)]), *receptances])
        plain(r, name, "relu2", k, k, n_ff)
        if self.receptance is None:
            r.close_linear(f"{name}_value", self.value, k, to)
            return
        result = r.floats("channel_mix_value", n)
        r.linears(k, [(self.value, result, 0)])
        add, out = (to.x, to.x) if to.is_plain else (0, result)
        r.plan.op(
            f"{name}.gate", Key("activation", "multiply", ("sigmoid",)), activation.MultiplyParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, group=1, x=result, gate=gate, add=add, out=out,
        )  # fmt: skip
        if not to.is_plain:
            r.close(name, result, to)


def read(f: LayerReader) -> ChannelMix:
    n, n_ff = f.config.n_embd, f.config.n_ff[0]
    numbers.at_least(f.config.keys.place("feed_forward_length"), n_ff)
    has_receptance = f.has("channel_mix_receptance.weight")
    uses = "kr" if has_receptance else "k"
    lerps = [f.weights.values(f.name(f"channel_mix_lerp_{use}.weight"), n) for use in uses]
    return ChannelMix(
        f.i, f.weights.constant(f.name("channel_mix_lerps"), np.concatenate(lerps)),
        f.linear("channel_mix_key", n, n_ff), f.linear("channel_mix_value", n_ff, n),
        f.linear("channel_mix_receptance", n, n) if has_receptance else None,
    )  # fmt: skip

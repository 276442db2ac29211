"""The time mix of RWKV 7 (Peng et al. 2025, arXiv 2503.14456), and of ARWKV (Yueyu et al. 2025, arXiv 2501.15570),
which is Qwen 2 with it in the place of attention, and may lack the gate and the norm of heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localllm.kernels import wkv, wkv7
from localllm.kernels.objects import Key
from localllm.model.blocks.rwkv6 import HEAD_EPS, head_norm, head_size
from localllm.model.blocks.token_shift import check_shift_count, mixed
from localllm.model.feed_forward import plain
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Job, Linear, Norm, Recorder, Residual
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value

_USES = "rwkvag"
"""What the input is mixed for: receptances, decays, keys, values, rates, the gate."""
_BETWEEN = {"w": "tanh", "g": "sigmoid"}
"""What is done between the two small matrices of a use."""


@dataclass(frozen=True, eq=False)
class TimeMix7:
    i: int
    size: int
    """Elements of a head."""
    lerps: Weight
    """f32 [5 or 6][n_embd], by _USES."""
    whole: dict[str, Linear]
    """The matrices of receptances, keys and values."""
    small: dict[str, tuple[Linear, Linear]]
    """Pairs of small matrices, one after the other, by use: for "v" how far values are drawn towards those of the
    first layer, which has none; "g" may be missing."""
    output: Linear
    k_k: Weight
    k_a: Weight
    r_k: Weight
    norm: Norm | None
    """Of heads."""

    def states(self, options: StateOptions) -> tuple[State, ...]:
        n = self.output.w.k
        return (Recurrent(n, n * wkv.padded(self.size)),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        name, n, norm = f"blk.{self.i}.time_mix", self.output.w.k, self.norm
        inputs = dict(zip(_USES, mixed(r, f"{name}_lerps", x, self.lerps, n, state), strict=False))
        v_first = r.once("values of the first layer", lambda: r.floats("values of the first layer", n))
        made, low = {use: r.floats(use, n) for use in "rkv"}, {use: r.floats(f"{use}2", n) for use in self.small}
        if "v" not in self.small:
            made["v"] = v_first
        self._products(r, name, inputs, made, low)
        y = r.floats("wkv", n)
        r.plan.op(
            f"{name}.wkv", Key("wkv7", "rows", (wkv.together(self.size),)), wkv7.Params, (r.n_rows, n),
            step=r.step, n_head=n // self.size, size=self.size, **made, w=low["w"], a=low["a"],
            v_first=v_first if "v" in low else 0, v_mix=low.get("v", 0), gate=low.get("g", 0),
            k_k=self.k_k.address, k_a=self.k_a.address, r_k=self.r_k.address,
            ln_w=norm.w.address if norm and norm.w else 0, ln_b=norm.bias.address if norm and norm.bias else 0,
            eps=HEAD_EPS, state=state.address(1), state_stride=state.stride(1), out=y,
        )  # fmt: skip
        r.close_linear(f"{name}_output", self.output, y, to)

    def _products(
        self, r: Recorder, name: str, inputs: Mapping[str, Value], made: dict[str, Buffer], low: dict[str, Buffer]
    ) -> None:
        """made: results of the whole matrices; low: of the small ones."""
        hidden = {use: r.floats(f"{use}1", down.w.n) for use, (down, _) in self.small.items()}
        jobs: dict[str, list[Job]] = {use: [(linear, made[use], 0)] for use, linear in self.whole.items()}
        for use, (down, _) in self.small.items():
            jobs.setdefault(use, []).append((down, hidden[use], 0))
        r.linears_of([(inputs[use], of) for use, of in jobs.items()])
        with r.plan.stage():
            for use in (use for use in _BETWEEN if use in self.small):
                plain(r, f"{name}_{use}1", _BETWEEN[use], hidden[use], hidden[use], self.small[use][0].w.n)
        r.linears_of([(hidden[use], [(up, low[use], 0)]) for use, (_, up) in self.small.items()])


def read(f: LayerReader) -> TimeMix7:
    check_shift_count(f)
    n, size, small = f.config.n_embd, head_size(f), _small(f)
    n_uses = len(_USES) if "g" in small else len(_USES) - 1
    has_norm = f.has("time_mix_ln.weight") and f.has("time_mix_ln.bias")
    k_k, k_a, r_k = (f.weights.vector(f.name(f"time_mix_{name}.weight"), n) for name in ("k_k", "k_a", "r_k"))
    return TimeMix7(
        i=f.i, size=size, lerps=f.weights.vector(f.name("time_mix_lerp_fused.weight"), n, 1, 1, n_uses),
        whole={use: f.linear(f"time_mix_{name}", n, n) for use, name in zip("rkv", _WHOLE, strict=True)},
        small=small, output=f.linear("time_mix_output", n, n), k_k=k_k, k_a=k_a, r_k=r_k,
        norm=head_norm(f) if has_norm else None,
    )  # fmt: skip


_WHOLE = ("receptance", "key", "value")
_RANKS = {"w": "decay", "a": "iclr", "v": "value_residual_mix", "g": "gate"}
"""By which name the file's keys have the width of a pair of small matrices."""


def _small(f: LayerReader) -> dict[str, tuple[Linear, Linear]]:
    """Pairs of small matrices; what is added to their results is a vector of its own, but for the gate's."""
    n, keys = f.config.n_embd, f.config.keys
    has = {"w": True, "a": True, "v": f.i > 0, "g": f.has("time_mix_g1.weight") and f.has("time_mix_g2.weight")}
    found = {}
    for use in (use for use in _RANKS if has[use]):
        rank = keys.integer(f"attention.{_RANKS[use]}_lora_rank")
        down, up = f.linear(f"time_mix_{use}1", n, rank), f.linear(f"time_mix_{use}2", rank, n)
        bias = None if use == "g" else f.weights.vector(f.name(f"time_mix_{use}0.weight"), n)
        found[use] = down, Linear(up.w, bias, up.scale)
    return found
